"""What one file or one command line says, where each value stands, and how an upper layer changes a lower one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel

from hvdtrain.recipe.sections import child_class
from hvdtrain.recipe.text import KeyPath

ALTERNATIVES = (frozenset({"max_steps", "epochs", "max_tokens"}),)
"""Keys of which a section has one: an upper layer that sets one takes the others of the lower layer away."""


@dataclass(frozen=True)
class Place:
    """Where a value stands: a line of a file, or an override as it was typed (`line` then counts the overrides)."""

    source: str
    line: int | None = None
    origin: Literal["recipe", "override"] = "recipe"

    def __str__(self) -> str:
        if self.origin == "override":
            return f"override '{self.source}'"
        return self.source if self.line is None else f"{self.source}:{self.line}"


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: the place of it, the key (empty for the whole file), and a message for a person."""

    place: Place
    path: KeyPath
    message: str


@dataclass
class Layer:
    """Values, and the place of each by its path; the empty path stands for the whole layer."""

    values: dict[str, Any] = field(default_factory=dict)
    places: dict[KeyPath, Place] = field(default_factory=dict)

    def place(self, path: KeyPath) -> Place:
        """Return the place of a value; of one that is missing, that of its section's name, which asks for it."""
        while path and path not in self.places:
            asking = (*path[:-1], "name")
            if len(path) > 1 and asking in self.places:
                return self.places[asking]
            path = path[:-1]
        return self.places.get(path, Place("recipe"))

    def origins(self) -> dict[str, str]:
        """Return "recipe" or "override" for each value that is set, by its dotted key; a list is one value."""
        return {".".join(map(str, path)): self.place(path).origin for path in _leaves(self.values, ())}


NOTHING = object()
"""What `lookup` returns where there is no value; None is a value."""


def lookup(values: Any, path: KeyPath) -> Any:
    """Return the value at a path, or NOTHING."""
    for part in path:
        inside = isinstance(values, Mapping) or (isinstance(values, list) and isinstance(part, int))
        try:
            values = values[part] if inside else NOTHING
        except LookupError:
            return NOTHING
    return values


def merge(lower: Layer, upper: Layer, model: type[BaseModel]) -> Layer:
    """Lay one layer over another: mappings merge, everything else replaces.

    Where the upper layer changes the `name` of a section, what the lower one said of the former goes on to hold as far
    as the new one knows it: `optimizer.name=sgd` keeps `lr` and drops `betas`.
    """
    # An override of one key is not where the section around it stands.
    around = {path for path, place in upper.places.items() if place.origin == "override" and path in lower.places}
    around = {path for path in around if isinstance(lookup(upper.values, path), Mapping)}
    places = {path: place for path, place in upper.places.items() if path not in around}
    return Layer(_merge(lower.values, upper.values, model), lower.places | places)


def _merge(lower: Mapping[str, Any], upper: Mapping[str, Any], model: type[BaseModel] | None) -> dict[str, Any]:
    given = {key for key, value in upper.items() if value is not None}
    gone = {other for group in ALTERNATIVES if group & given for other in group}
    merged = {key: value for key, value in lower.items() if key not in gone}
    for key, value in upper.items():
        below = merged.get(key)
        if isinstance(value, dict) and isinstance(below, dict):
            section = child_class(model, key, below | value)
            if section is not None and value.get("name", below.get("name")) != below.get("name"):
                below = {known: kept for known, kept in below.items() if known in section.model_fields}
            value = _merge(below, value, section)
        merged[key] = value
    return merged


def _leaves(values: Mapping[str, Any], path: KeyPath) -> Iterator[KeyPath]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, (*path, key))
        else:
            yield (*path, key)
