"""Which class validates a section of a recipe, found from the fields of its parent and the section's own `name`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel

from hvdtrain import registry
from hvdtrain.registered import RegisteredAs


def child_class(parent: type[BaseModel] | None, key: str | int, section: Any) -> type[BaseModel] | None:
    """Return the class of the section under `key`, or None where there is none or its name is unknown."""
    field = parent.model_fields.get(str(key)) if parent else None
    if field is None:
        return None
    name = section.get("name") if isinstance(section, Mapping) else None
    for kind in _kinds(field.annotation, field.metadata):
        known = isinstance(name, str) and name in registry.names(kind)
        return registry.config_class(kind, str(name)) if known else None
    options = list(_models(field.annotation))
    if len(options) == 1:
        return options[0]
    return next((option for option in options if name == option.model_fields["name"].default), None)


def class_at(model: type[BaseModel], path: tuple[str | int, ...], values: Any) -> type[BaseModel] | None:
    """Return the class of the section at a path of the values, starting from the class of the whole."""
    found: type[BaseModel] | None = model
    for part in path:
        values = values.get(part) if isinstance(values, Mapping) else None
        found = child_class(found, part, values)
    return found


def _kinds(annotation: Any, metadata: Any = ()) -> Iterator[str]:
    for mark in (*metadata, *getattr(annotation, "__metadata__", ())):
        if isinstance(mark, RegisteredAs):
            yield mark.kind
    for argument in get_args(annotation):
        yield from _kinds(argument)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)
