"""What a path on the command line stands for: the directory of a run or of a sweep."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hvdtrain.errors import UserError
from hvdtrain.metrics.study import Study
from hvdtrain.report.files import METRICS, read_history
from hvdtrain.report.history import History
from hvdtrain.report.study import REPORT, read_study

_EXPECTED = (
    f"expected the directory of a run (with {METRICS}) or of a sweep (with {REPORT}), or a report in one of them"
)


@dataclass(frozen=True)
class RunSource:
    """A run: its directory, what its records say, and its resolved recipe as dotted keys, None where there is none."""

    directory: Path
    history: History
    recipe: dict[str, Any] | None


@dataclass(frozen=True)
class StudySource:
    """A sweep: its directory and what it found out."""

    directory: Path
    study: Study


def find(path: Path) -> RunSource | StudySource:
    """Return the run or the sweep in a directory, or beside a file such as a `report.html`.

    Raises:
        UserError: there is neither.
    """
    if not path.exists():
        raise UserError(f"{path} does not exist; {_EXPECTED}")
    directory = path if path.is_dir() else path.parent
    if not path.is_dir() and path.name != METRICS and path.stem != "report":
        raise UserError(f"{path}: {_EXPECTED}")
    if (directory / METRICS).is_file():
        return _run(directory)
    if (directory / REPORT).is_file():
        return StudySource(directory, read_study(directory))
    raise UserError(f"{path}: there is no run here; {_EXPECTED}{_below(directory)}")


def _run(directory: Path) -> RunSource:
    try:
        history = read_history(directory)
    except OSError as error:
        raise UserError(f"can't read {directory / METRICS}: {error.strerror}") from error
    if history.start is None and history.step is None:
        raise UserError(
            f"{directory / METRICS} holds no records of a run: it was cut off before its first, or is damaged"
        )
    return RunSource(directory, history, read_recipe(directory / "recipe.yaml"))


def _below(directory: Path) -> str:
    """Name the runs in the directories below, for people who gave the directory of all of them."""
    try:
        names = sorted(one.name for one in directory.iterdir() if (one / METRICS).is_file() or (one / REPORT).is_file())
    except OSError:
        return ""
    shown = ", ".join(str(directory / name) for name in names[:5])
    return f"; below it there are: {shown}{' and more' if len(names) > 5 else ''}" if names else ""


def read_recipe(path: Path) -> dict[str, Any] | None:
    """Return a resolved recipe as dotted keys; None where there is none, or none that can be read.

    It is not validated: a run of another version, or with models of a package that is not here, can still be compared.
    """
    from hvdtrain.recipe.text import YamlSyntaxError, parse

    try:
        value = parse(path.read_text(encoding="utf-8", errors="replace")).value
    except (OSError, YamlSyntaxError):
        return None
    return flatten(value) if isinstance(value, dict) else None


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as one with dotted keys; a list is a value."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and value:
            flat |= flatten(value, f"{name}.")
        else:
            flat[name] = value
    return flat


def differences(recipes: list[dict[str, Any] | None]) -> dict[str, list[str]]:
    """Return the keys whose values are not the same in all recipes that are there, each with the value of every run.

    `name` and `output_dir` are left out: a report names its runs anyway. A key that a recipe lacks shows as "-".
    """
    known = [recipe for recipe in recipes if recipe is not None]
    keys = dict.fromkeys(key for recipe in known for key in recipe)
    found = {}
    for key in keys:
        values = [_value(recipe, key) for recipe in recipes]
        compared = {value for value, recipe in zip(values, recipes, strict=True) if recipe is not None}
        if len(compared) > 1 and key not in ("name", "output_dir"):
            found[key] = values
    return found


def _value(recipe: dict[str, Any] | None, key: str) -> str:
    if recipe is None or key not in recipe:
        return "-"
    value = recipe[key]
    return value if isinstance(value, str) and value not in ("", "-") else json.dumps(value, ensure_ascii=False)
