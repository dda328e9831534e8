"""Checkpoints: a directory `step-N` that is complete or is not there.

Tensors are safetensors, the rest is JSON and YAML, and `manifest.json` holds the SHA-256 of every other file; nothing
in it is ever unpickled. `saving.py` writes them.
"""

from __future__ import annotations

import hashlib
import json
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from hvdtrain.errors import CheckpointError

FORMAT = 3
_NAME = re.compile(r"step-(\d+)")
MANIFEST = "manifest.json"
_FILES = {"model.safetensors", "optimizer.safetensors", "state.json", "recipe.yaml"}
BEST = "best.json"
_MAX_STATE, _MAX_OTHER = 256 * 2**20, 2**20
"""Bytes of `state.json`, which may hold a rollout of many environments, and of the manifest and the like."""
_STATE: dict[str, type] = {
    "step": int,
    "world_size": int,
    "global_batch_size": int,
    "targets": int,
    "skipped": list,
    "rollbacks": int,
    "owes_evaluation": bool,
    "precision": str,
    "loader": dict,
    "optimizers": dict,
    "encoder": dict,
    "identity": dict,
}


@dataclass(frozen=True)
class Snapshot:
    """What a checkpoint holds: the model's and the optimizers' tensors by name, and everything else as JSON values."""

    model: Mapping[str, torch.Tensor]
    optimizer: Mapping[str, torch.Tensor]
    state: Mapping[str, Any]


def found(directory: Path) -> list[tuple[int, Path]]:
    """Return (step, path) of the checkpoints in a directory, the newest first, valid or not; a link is none."""
    if not directory.is_dir():
        return []
    folders = (path for path in directory.iterdir() if path.is_dir() and not path.is_symlink())
    matches = ((_NAME.fullmatch(path.name), path) for path in folders)
    return sorted(((int(match[1]), path) for match, path in matches if match), reverse=True)


def best(directory: Path) -> Path | None:
    """Return the checkpoint of the best evaluation in a directory of checkpoints, None where none is marked so."""
    try:
        name = _json(directory / BEST)["checkpoint"]
    except (CheckpointError, KeyError):
        return None
    path = directory / str(name)
    return path if _NAME.fullmatch(str(name)) and path.is_dir() and not path.is_symlink() else None


def newest(directory: Path) -> tuple[Path | None, list[str]]:
    """Return the newest checkpoint that is whole, and what is wrong with each newer one.

    One that a run which goes on has pruned meanwhile is not wrong: there is a newer one.
    """
    problems = []
    for _, path in found(directory):
        try:
            verify(path)
        except CheckpointError as error:
            if not path.exists():
                return newest(directory)
            problems.append(str(error))
        else:
            return path, problems
    return None, problems


def verify(path: Path) -> None:
    """Check every file of a checkpoint against its manifest.

    Raises:
        CheckpointError: the checkpoint is missing, incomplete or altered.
    """
    manifest = _json(path / MANIFEST)
    files = manifest.get("files")
    if manifest.get("format") != FORMAT or not isinstance(files, dict):
        raise CheckpointError(
            f"checkpoint {path}: format {manifest.get('format')!r} is not {FORMAT}, the one that this version reads"
        )
    if missing := sorted(_FILES - files.keys()):
        raise CheckpointError(f"checkpoint {path}: its manifest lacks {', '.join(missing)}")
    if (path / "tokenizer.json").exists() and "tokenizer.json" not in files:
        raise CheckpointError(f"checkpoint {path}: its tokenizer.json is not in its manifest")
    for name, expected in files.items():
        file = path / Path(name).name
        if not file.is_file() or file.is_symlink():
            raise CheckpointError(f"checkpoint {path}: {name} is missing")
        try:
            actual = sha256(file)
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
    return Snapshot(model, optimizer, _json(path / "state.json", _MAX_STATE))


def locate(path: Path, prefer: Literal["newest", "best"] = "newest") -> Path:
    """Return the checkpoint that a path means: itself, or of a run directory the newest whole one, or its best.

    Raises:
        CheckpointError: there is none.
    """
    if (path / MANIFEST).is_file():
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


def check_state(snapshot: Snapshot, path: Path | str) -> None:
    """Make sure that a snapshot's state has what a run that goes on from it looks at, in the right form.

    Raises:
        CheckpointError: it has not.
    """
    for key, kind in _STATE.items():
        value = snapshot.state.get(key)
        if not isinstance(value, kind) or (isinstance(value, int) and not 0 <= value < 2**62):
            raise CheckpointError(f"checkpoint {path}: its state's {key} is {str(value)[:60]!r}, which can't be")


def _json(path: Path, most: int = _MAX_OTHER) -> dict[str, Any]:
    try:
        facts = path.lstat()
        if not stat.S_ISREG(facts.st_mode) or facts.st_size > most:
            raise CheckpointError(f"checkpoint {path.parent}: {path.name} is no plain file of at most {most:,} bytes")
        value = json.loads(path.read_text())
    except RecursionError:
        raise CheckpointError(f"checkpoint {path.parent}: {path.name} is nested too deeply") from None
    except OSError as error:
        raise CheckpointError(f"checkpoint {path.parent}: can't read {path.name}: {error.strerror}") from error
    except ValueError as error:
        raise CheckpointError(f"checkpoint {path.parent}: {path.name} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"checkpoint {path.parent}: {path.name} is not a JSON object")
    return value


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()
