"""The output directory: nothing in it that hvdtrain did not write is touched, and no run is ever overwritten."""

from __future__ import annotations

import json
import os
from pathlib import Path

from hvdtrain.errors import SetupError
from hvdtrain.world import World, on_first

_CHOOSE = "choose another with output_dir=PATH"
_LAST_RECORD = 2**20
"""Bytes that the last line of metrics.jsonl has room in."""


def check_output(world: World, output_dir: Path) -> None:
    """Make sure, without changing anything, that a run can have this directory.

    Raises:
        SetupError: it can't be written, it holds a recipe.yaml of the user's, or a link where a run writes.
    """
    on_first(world, lambda: _check(output_dir))


def claim_output(world: World, output_dir: Path, *, afresh: bool) -> str | None:
    """Make the directory; `afresh` moves a run that is there aside, and returns where it is now.

    Raises:
        SetupError: the directory can't be made or moved.
    """
    moved: str | None = on_first(world, lambda: _claim(output_dir, afresh))
    return moved


def has_ended(output_dir: Path, step: int) -> bool:
    """Whether the records of the run in a directory close with its end at this step: it was not broken off."""
    try:
        with (output_dir / "metrics.jsonl").open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _LAST_RECORD))
            last = json.loads(file.read().splitlines()[-1])
        return bool(last["event"] == "end" and last["step"] == step)
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return False


def _check(output_dir: Path) -> None:
    standing = next(path for path in (output_dir.absolute(), *output_dir.absolute().parents) if path.exists())
    if not standing.is_dir():
        raise SetupError(f"output_dir = {output_dir}: {standing} is a file; {_CHOOSE}")
    if not os.access(standing, os.W_OK | os.X_OK):
        raise SetupError(f"output_dir = {output_dir}: no permission to write in {standing}; {_CHOOSE}")
    if (output_dir / "recipe.yaml").exists() and not _holds_run(output_dir):
        raise SetupError(
            f"output_dir = {output_dir}: holds a recipe.yaml that no run wrote, and a run would overwrite it; {_CHOOSE}"
        )
    for name in ("checkpoints", "samples", "metrics.jsonl"):
        if (output_dir / name).is_symlink():
            raise SetupError(
                f"output_dir = {output_dir}: {name} there is a symbolic link, and a run writes nowhere else than into "
                f"its directory; {_CHOOSE}, on the disk that has room"
            )


def _claim(output_dir: Path, afresh: bool) -> str | None:
    try:
        moved = None
        if afresh and _holds_run(output_dir):
            number = 1
            while (aside := output_dir.with_name(f"{output_dir.name}.{number}")).exists():
                number += 1
            output_dir.rename(aside)
            moved = str(aside)
        (output_dir / "checkpoints").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SetupError(f"output_dir = {output_dir}: can't be written ({error.strerror}); {_CHOOSE}") from error
    return moved


def _holds_run(output_dir: Path) -> bool:
    return (output_dir / "metrics.jsonl").exists() or (output_dir / "checkpoints").is_dir()
