"""Writing what tuning found into a recipe."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from hvdtrain.errors import UserError
from hvdtrain.recipe import dump, load
from hvdtrain.recipe.catalogue import shipped
from hvdtrain.recipe.files import locate
from hvdtrain.report.writing import write_whole
from hvdtrain.scaling.tuning.candidates import Candidate


def check_target(target: Path, source: str, overrides: Sequence[str] = ()) -> None:
    """Make sure that a recipe may be written there.

    Raises:
        UserError: something else is there already, or its folder is missing.
    """
    if target.exists() and not (locate(source).exists() and target.samefile(locate(source))):
        raise UserError(f"--write {target}: is there already; name a new file, or the recipe itself to change it")
    if target.exists() and target.resolve() in {path.resolve() for path in shipped().values()}:
        raise UserError(f"--write {target}: is a recipe of hvdtrain's own; name a new file")
    if target.exists() and overrides:
        raise UserError(
            f"--write {target}: is tuned with {' '.join(overrides)}, which would not be in it; name a new file"
        )
    if not target.parent.is_dir():
        raise UserError(f"--write {target}: the folder {target.parent} does not exist")


def write_tuned(target: Path, source: str, overrides: list[str], best: Candidate, said: str) -> None:
    """Write the best settings: into the recipe itself with its comments kept, or as a new one on top of it.

    Args:
        target: the file; the recipe itself, or a new one.
        source: the recipe that was tuned, by path or shipped name.
        overrides: the changes that it was tuned with.
        best: what to set.
        said: a line for the head of a new file: what was measured.
    """
    changes = [*overrides, *best.overrides]
    path = locate(source)
    yaml = YAML(typ="rt")
    if target.exists():
        values: Any = yaml.load(path.read_text(encoding="utf-8"))
        _put(values, best)
        buffer = io.StringIO()
        yaml.dump(values, buffer)
        text = buffer.getvalue()
    elif path in shipped().values() or overrides:
        text = f"# {said}\n" + dump(load(source, changes).recipe)
    else:
        values = {"extends": os.path.relpath(path, target.parent), "name": load(source).recipe.name}
        _put(values, best)
        buffer = io.StringIO()
        yaml.dump(values, buffer)
        text = f"# {said}\n" + buffer.getvalue()
    write_whole(target, text)


def _put(values: Any, best: Candidate) -> None:
    for key, value in best.changes.items():
        section, _, name = key.partition(".")
        number = float(value)
        if not values.get(section):
            values[section] = {}
        values[section][name] = int(number) if number.is_integer() else number
