"""The file name is the registry: `model: {name: gpt}` means `hvdtrain/models/gpt.py`.

A registered module has a `Config` (pydantic, unknown keys forbidden, importable without torch) and a `build(config,
...)`. Modules whose name starts with an underscore are shared code, not entries. Other packages add entries through
entry points of the group `hvdtrain.<kind>`, each pointing at such a module.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType

from pydantic import BaseModel, ConfigDict

from hvdtrain.errors import RecipeError, nearest

PACKAGES = {
    "models": "hvdtrain.models",
    "data": "hvdtrain.data.sources",
    "partitions": "hvdtrain.data.partitions",
    "tokenizers": "hvdtrain.data.tokenizers",
    "tasks": "hvdtrain.tasks",
    "sync": "hvdtrain.sync",
}


class RegisteredConfig(BaseModel):
    """Base of every registered `Config`: immutable; a key that it does not know is an error, and so is `true` for 1."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    name: str


@cache
def names(kind: str) -> tuple[str, ...]:
    """Return the sorted names registered under a kind, those of other installed packages included."""
    package = importlib.import_module(PACKAGES[kind])
    own = {entry.name for entry in pkgutil.iter_modules(package.__path__) if not entry.name.startswith("_")}
    return tuple(sorted(own | _foreign(kind).keys()))


def find(kind: str, name: str) -> ModuleType:
    """Return the module registered as `name`.

    Raises:
        RecipeError: nothing is registered under that name.
    """
    if name not in names(kind):
        raise RecipeError(f"no {kind} named '{name}' (known: {', '.join(names(kind))}){nearest(name, names(kind))}")
    if name in _foreign(kind):
        return _foreign(kind)[name].load()  # type: ignore[no-any-return]
    return importlib.import_module(f"{PACKAGES[kind]}.{name}")


@cache
def _foreign(kind: str) -> dict[str, EntryPoint]:
    """Return the entry points of other packages; looking for them reads the metadata of all that is installed."""
    return {entry.name: entry for entry in entry_points(group=f"hvdtrain.{kind}")}


def config_class(kind: str, name: str) -> type[RegisteredConfig]:
    """Return the `Config` class registered as `name`; torch is not imported for it."""
    return find(kind, name).Config  # type: ignore[no-any-return]
