"""Writing checkpoints: beside their place, synced to the disk, then renamed, so that one is whole or not there.

Whatever was good stays so until what takes its place is on the disk: a process may be killed, or the disk be full, at
any moment of this.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError
from safetensors.torch import save_file

from hvdtrain.data.cache import sync
from hvdtrain.errors import RunError
from hvdtrain.metrics.records import CheckpointRecord
from hvdtrain.train.checkpoint import BEST, FORMAT, MANIFEST, Snapshot, best, found, sha256

if TYPE_CHECKING:
    from hvdtrain.train.assemble import Assembly
    from hvdtrain.world import World

_UNFINISHED = ".step-*"
"""What is being written or removed, and what a process that was killed left of it."""


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
            for remains in self._directory.glob(_UNFINISHED):
                shutil.rmtree(remains, ignore_errors=True)
            for later, path in found(self._directory):
                if later > step:
                    _set_aside(path)
            name = f"step-{best['step']}" if best else ""
            if best and (self._directory / name).is_dir():
                self._mark_best(name, best)  # a kill may have come between the checkpoint and its mark
            elif self.best is None:
                (self._directory / BEST).unlink(missing_ok=True)
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
            RunError: it can't be written, or what comes after that can't be done: it says which, and what is there.
        """
        began = time.perf_counter()
        final = self._directory / f"step-{snapshot.state['step']}"
        partial = self._directory / f".{final.name}.partial"
        try:
            self._make_directory()
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            size = self._write(partial, snapshot)
            if final.exists():
                _set_aside(final)
            partial.rename(final)
        except (OSError, SafetensorError) as error:
            shutil.rmtree(partial, ignore_errors=True)
            raise RunError(f"can't write checkpoint {final}: {error}; older checkpoints are untouched") from error
        try:
            sync(self._directory)
            if best is not None:
                self._mark_best(final.name, best)
            self._prune()
        except OSError as error:
            raise RunError(
                f"checkpoint {final} is whole, but can't be synced, marked as the best, or others removed: {error}"
            ) from error
        return CheckpointRecord(
            step=snapshot.state["step"], path=str(final), bytes=size, seconds=time.perf_counter() - began
        )

    def _make_directory(self) -> None:
        if not self._directory.is_dir():
            self._directory.mkdir(parents=True, exist_ok=True)
            sync(self._directory.parent)

    def _write(self, directory: Path, snapshot: Snapshot) -> int:
        save_file({name: t.contiguous() for name, t in snapshot.model.items()}, directory / "model.safetensors")
        save_file({name: t.contiguous() for name, t in snapshot.optimizer.items()}, directory / "optimizer.safetensors")
        (directory / "state.json").write_text(json.dumps(snapshot.state, indent=1) + "\n")
        (directory / "recipe.yaml").write_text(self._recipe)
        if self._save_tokenizer is not None:
            self._save_tokenizer(directory / "tokenizer.json")
        files = {path.name: sha256(path) for path in sorted(directory.iterdir())}
        manifest = {"format": FORMAT, "files": files}
        (directory / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
        for path in directory.iterdir():
            sync(path)
        sync(directory)
        return sum(path.stat().st_size for path in directory.iterdir())

    def _mark_best(self, name: str, facts: Mapping[str, Any]) -> None:
        partial = self._directory / f".{BEST}.partial"
        partial.unlink(missing_ok=True)  # never through a link
        with partial.open("x") as file:
            file.write(json.dumps({"checkpoint": name, **facts}, indent=1) + "\n")
        sync(partial)
        partial.replace(self._directory / BEST)
        sync(self._directory)

    def _prune(self) -> None:
        if self._keep_last is not None:
            kept = best(self._directory)
            for _, path in found(self._directory)[self._keep_last :]:
                if path != kept:
                    _remove(path)


class NoCheckpoints:
    """The peer of `Checkpoints` on workers that don't write."""

    best = None

    def begin(self, step: int, best: Mapping[str, Any] | None) -> None:
        return None

    def save(self, snapshot: Snapshot, best: Mapping[str, Any] | None = None) -> None:
        return None


def make_checkpoints(assembly: Assembly, world: World) -> Checkpoints | NoCheckpoints:
    """Return the writer of checkpoints on the worker that reports, and its peer that writes nothing on the others."""
    if world.rank != 0:
        return NoCheckpoints()
    from hvdtrain.recipe import dump

    recipe, tokenizer = assembly.recipe, assembly.data.encoder.tokenizer
    return Checkpoints(
        Path(recipe.output_dir) / "checkpoints",
        recipe=dump(recipe),
        save_tokenizer=tokenizer.save if tokenizer is not None else None,
        keep_last=recipe.train.keep_last,
    )


def _set_aside(path: Path) -> None:
    number, free = 1, path.with_name(f"{path.name}.abandoned")
    while free.exists():
        free, number = path.with_name(f"{path.name}.abandoned.{number}"), number + 1
    path.rename(free)


def _remove(path: Path) -> None:
    """Under another name first: what is half removed must not look like a checkpoint that is damaged."""
    gone = path.with_name(f".{path.name}.removed")
    try:
        path.rename(gone)
    except OSError:
        return  # It takes up room, and harms nothing.
    shutil.rmtree(gone, ignore_errors=True)
