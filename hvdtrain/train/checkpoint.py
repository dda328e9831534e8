"""Checkpoints: a directory `step-N` that is complete or is not there.

Tensors are safetensors, the rest is JSON and YAML, and `manifest.json` holds the SHA-256 of every other file. A
checkpoint is written beside its place, synced to the disk and renamed; nothing in it is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from hvdtrain.errors import CheckpointError, RunError
from hvdtrain.metrics.records import CheckpointRecord

FORMAT = 2
_NAME = re.compile(r"step-(\d+)")
_MANIFEST = "manifest.json"
_FILES = {"model.safetensors", "optimizer.safetensors", "state.json", "recipe.yaml"}
_BEST = "best.json"


@dataclass(frozen=True)
class Snapshot:
    """What a checkpoint holds: the model's and the optimizers' tensors by name, and everything else as JSON values."""

    model: Mapping[str, torch.Tensor]
    optimizer: Mapping[str, torch.Tensor]
    state: Mapping[str, Any]


class Checkpoints:
    """The checkpoints of one run; the worker that reports has it, the others have `NoCheckpoints`."""

    def __init__(
        self,
        directory: Path,
        *,
        recipe: str,
        save_tokenizer: Callable[[Path], None] | None,
        keep_last: int | None,
    ) -> None:
        self._directory = directory
        self._recipe = recipe
        self._save_tokenizer = save_tokenizer
        self._keep_last = keep_last

    def begin(self, step: int, best: Mapping[str, Any] | None) -> None:
        """Set checkpoints of later steps aside: a run that begins at `step` takes another way from here.

        `best` are facts of the best evaluation up to then, whose checkpoint is the best again, if it was kept.

        Raises:
            RunError: one can't be renamed.
        """
        try:
            for later, path in found(self._directory):
                if later > step:
                    path.rename(_free_name(path.with_name(f"{path.name}.abandoned")))
            if self.best is None:
                (self._directory / _BEST).unlink(missing_ok=True)
                name = f"step-{best['step']}" if best else ""
                if best and (self._directory / name).is_dir():
                    self._mark_best(name, best)
        except OSError as error:
            raise RunError(f"can't set a later checkpoint in {self._directory} aside: {error}") from error

    @property
    def best(self) -> str | None:
        """The path of the checkpoint of the best evaluation so far, if it was kept."""
        path = best(self._directory)
        return None if path is None else str(path)

    def save(self, snapshot: Snapshot, best: Mapping[str, Any] | None = None) -> CheckpointRecord:
        """Write a snapshot as `step-N`, N being its step, and remove what `keep_last` says; `best` are facts of the
        evaluation that makes it the best so far.

        Raises:
            RunError: it can't be written; checkpoints that were there before are untouched.
        """
        began = time.perf_counter()
        final = self._directory / f"step-{snapshot.state['step']}"
        partial = self._directory / f".{final.name}.partial"
        try:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            size = self._write(partial, snapshot)
            shutil.rmtree(final, ignore_errors=True)
            partial.rename(final)
            _sync(self._directory)
            if best is not None:
                self._mark_best(final.name, best)
        except (OSError, SafetensorError) as error:
            shutil.rmtree(partial, ignore_errors=True)
            raise RunError(f"can't write checkpoint {final}: {error}; older checkpoints are untouched") from error
        self._prune()
        return CheckpointRecord(
            step=snapshot.state["step"], path=str(final), bytes=size, seconds=time.perf_counter() - began
        )

    def _write(self, directory: Path, snapshot: Snapshot) -> int:
        save_file({name: t.contiguous() for name, t in snapshot.model.items()}, directory / "model.safetensors")
        save_file({name: t.contiguous() for name, t in snapshot.optimizer.items()}, directory / "optimizer.safetensors")
        (directory / "state.json").write_text(json.dumps(snapshot.state, indent=1) + "\n")
        (directory / "recipe.yaml").write_text(self._recipe)
        if self._save_tokenizer is not None:
            self._save_tokenizer(directory / "tokenizer.json")
        files = {path.name: _sha256(path) for path in sorted(directory.iterdir())}
        manifest = {"format": FORMAT, "files": files}
        (directory / _MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
        for path in directory.iterdir():
            _sync(path)
        _sync(directory)
        return sum(path.stat().st_size for path in directory.iterdir())

    def _mark_best(self, name: str, facts: Mapping[str, Any]) -> None:
        partial = self._directory / f".{_BEST}.partial"
        partial.write_text(json.dumps({"checkpoint": name, **facts}, indent=1) + "\n")
        _sync(partial)
        partial.replace(self._directory / _BEST)

    def _prune(self) -> None:
        if self._keep_last is not None:
            kept = best(self._directory)
            for _, path in found(self._directory)[self._keep_last :]:
                if path != kept:
                    shutil.rmtree(path, ignore_errors=True)


class NoCheckpoints:
    """The peer of `Checkpoints` on workers that don't write."""

    best = None

    def begin(self, step: int, best: Mapping[str, Any] | None) -> None:
        return None

    def save(self, snapshot: Snapshot, best: Mapping[str, Any] | None = None) -> None:
        return None


def found(directory: Path) -> list[tuple[int, Path]]:
    """Return (step, path) of the checkpoints in a directory, the newest first, valid or not."""
    if not directory.is_dir():
        return []
    matches = ((_NAME.fullmatch(path.name), path) for path in directory.iterdir() if path.is_dir())
    return sorted(((int(match[1]), path) for match, path in matches if match), reverse=True)


def best(directory: Path) -> Path | None:
    """Return the checkpoint of the best evaluation in a directory of checkpoints, None where none is marked so."""
    try:
        name = json.loads((directory / _BEST).read_text())["checkpoint"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    path = directory / str(name)
    return path if _NAME.fullmatch(path.name) and path.is_dir() else None


def newest(directory: Path) -> tuple[Path | None, list[str]]:
    """Return the newest checkpoint that is whole, and what is wrong with each newer one."""
    problems = []
    for _, path in found(directory):
        try:
            verify(path)
        except CheckpointError as error:
            problems.append(str(error))
        else:
            return path, problems
    return None, problems


def verify(path: Path) -> None:
    """Check every file of a checkpoint against its manifest.

    Raises:
        CheckpointError: the checkpoint is missing, incomplete or altered.
    """
    manifest = _json(path / _MANIFEST)
    files = manifest.get("files")
    if manifest.get("format") != FORMAT or not isinstance(files, dict):
        raise CheckpointError(
            f"checkpoint {path}: format {manifest.get('format')!r} is not {FORMAT}, the one that this version reads"
        )
    if missing := sorted(_FILES - files.keys()):
        raise CheckpointError(f"checkpoint {path}: its manifest lacks {', '.join(missing)}")
    for name, expected in files.items():
        file = path / Path(name).name
        if not file.is_file() or file.is_symlink():
            raise CheckpointError(f"checkpoint {path}: {name} is missing")
        try:
            actual = _sha256(file)
        except OSError as error:
            raise CheckpointError(f"checkpoint {path}: can't read {name}: {error.strerror}") from error
        if actual != expected:
            raise CheckpointError(f"checkpoint {path}: {name} is damaged (its SHA-256 is not the manifest's)")


def read(path: Path) -> Snapshot:
    """Return what a checkpoint holds, after `verify`.

    Raises:
        CheckpointError: as `verify` does.
    """
    verify(path)
    try:
        model, optimizer = load_file(path / "model.safetensors"), load_file(path / "optimizer.safetensors")
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"checkpoint {path}: {error}") from error
    return Snapshot(model, optimizer, _json(path / "state.json"))


def locate(path: Path, prefer: Literal["newest", "best"] = "newest") -> Path:
    """Return the checkpoint that a path means: itself, or of a run directory the newest whole one, or its best.

    Raises:
        CheckpointError: there is none.
    """
    if (path / _MANIFEST).is_file():
        return path
    for directory in (path / "checkpoints", path):
        marked = best(directory) if prefer == "best" else None
        if marked is not None:
            return marked
        latest, problems = newest(directory)
        if latest is not None:
            return latest
        if problems:
            raise CheckpointError(f"no whole checkpoint in {directory}:\n" + "\n".join(problems))
    what = "holds no checkpoint" if path.exists() else "does not exist"
    raise CheckpointError(
        f"{path} {what}; expected a run directory or a checkpoint such as runs/NAME/checkpoints/step-100"
    )


def _free_name(path: Path) -> Path:
    number, free = 1, path
    while free.exists():
        free, number = path.with_name(f"{path.name}.{number}"), number + 1
    return free


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text())
    except OSError as error:
        raise CheckpointError(f"checkpoint {path.parent}: can't read {path.name}: {error.strerror}") from error
    except ValueError as error:
        raise CheckpointError(f"checkpoint {path.parent}: {path.name} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"checkpoint {path.parent}: {path.name} is not a JSON object")
    return value


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
