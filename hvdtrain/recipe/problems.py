"""What is wrong with a recipe, in words: where, which key and value, what was expected, and the nearest known name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from hvdtrain.errors import RecipeError, nearest
from hvdtrain.recipe.layers import NOTHING, Layer, Place, Problem, lookup
from hvdtrain.recipe.sections import child_class, class_at
from hvdtrain.recipe.text import KeyPath

_WORDS = {
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "string_type": "must be text",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "path_type": "must be a path",
    "finite_number": "must be a finite number",
    "model_type": "must be a mapping (key: value)",
    "model_attributes_type": "must be a mapping (key: value)",
    "dict_type": "must be a mapping (key: value)",
    "missing": "is required",
}
_ITS_WORDS = re.compile(r"^(Input|String|List|Tuple) should")
_MANY = 12


def complaint(problems: Iterable[Problem], layer: Layer, name: str) -> RecipeError:
    """Make the error that lists all problems, those of files before those of overrides."""
    ordered = sorted(problems, key=lambda problem: _order(problem.place))
    lines = list(dict.fromkeys(_line(problem, layer) for problem in ordered))
    return RecipeError(
        lines[0] if len(lines) == 1 else "\n  ".join([f"{len(lines)} problems in recipe {name}:", *lines])
    )


def find_problems(error: ValidationError, layer: Layer, model: type[BaseModel]) -> list[Problem]:
    """Turn what pydantic found into problems, one a value: the branches of a union are one."""
    found: dict[KeyPath, list[str]] = {}
    for detail in error.errors(include_url=False):
        path, message = _explain(detail, layer.values, model)
        messages = found.setdefault(path, [])
        if message not in messages:
            messages.append(message)
    return [Problem(layer.place(path), path, _alternatives(messages)) for path, messages in found.items()]


def _order(place: Place) -> tuple[bool, str, int]:
    typed = place.origin == "override"
    return typed, "" if typed else place.source, place.line or 0


def _line(problem: Problem, layer: Layer) -> str:
    value = lookup(layer.values, problem.path) if problem.path else NOTHING
    # A file's line shows the section; a mapping would repeat it, and nothing has no value to show.
    shown = "" if value is NOTHING or isinstance(value, Mapping) else f" = {_show(value)}"
    key = ".".join(map(str, problem.path))
    return f"{problem.place}: {key}{shown}: {problem.message}" if key else f"{problem.place}: {problem.message}"


def _show(value: Any) -> str:
    text = value if isinstance(value, str) and value.isprintable() and value.strip() else json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


def _explain(detail: ErrorDetails, values: Mapping[str, Any], model: type[BaseModel]) -> tuple[KeyPath, str]:
    kind, context = detail["type"], detail.get("ctx", {})
    path = _real_path(detail["loc"], values, keep_last=kind in ("missing", "extra_forbidden", "misfit"))
    if kind == "misfit":
        keys = tuple(part for part in str(context["key"]).split(".") if part)
        return (*path[:-1], *keys), str(context["message"])
    if kind == "extra_forbidden":
        return path, _unknown_key(path, values, model)
    if kind in ("registered_name", "union_tag_invalid"):
        known = context["known"].split(", ") if "known" in context else _quoted(str(context["expected_tags"]))
        return (*path, "name"), _none_of(lookup(values, (*path, "name")), known)
    if kind == "union_tag_not_found":
        return (*path, "name"), "is required"
    if kind == "registered_mapping":
        return path, str(detail["msg"]).replace("expected a mapping with a name", "must be a mapping with a name")
    if kind == "literal_error":
        return path, _none_of(detail["input"], _quoted(str(context["expected"])))
    return path, _words(kind, detail)


def _words(kind: str, detail: ErrorDetails) -> str:
    message = _WORDS.get(kind) or _ITS_WORDS.sub("must", detail["msg"].removeprefix("Value error, "))
    value = detail["input"]
    if kind == "bool_type" and isinstance(value, str) and value.lower() in ("yes", "no", "on", "off"):
        return f"{message} (in YAML 1.2, {value} is text)"
    if kind in ("int_type", "float_type") and isinstance(value, str) and re.fullmatch(r"[-+.\deE]{1,30}", value):
        return f"{message}; write it without quotes"
    if kind == "string_type" and isinstance(value, (bool, int, float)):
        return f"{message}; put it in quotes"
    return message


def _real_path(location: Sequence[str | int], values: Any, *, keep_last: bool) -> KeyPath:
    """Leave out what pydantic puts into a location beside keys: the names of union branches."""
    path: list[str | int] = []
    for index, part in enumerate(location):
        here = lookup(values, (*path, part))
        if here is not NOTHING or (keep_last and index == len(location) - 1):
            path.append(part)
    return tuple(path)


def _unknown_key(path: KeyPath, values: Mapping[str, Any], model: type[BaseModel]) -> str:
    *around, key = path
    section = class_at(model, tuple(around), values)
    known = sorted(section.model_fields) if section else []
    name, colon, value = str(key).partition(":")
    if colon and name in known:
        return f"unknown key; YAML wants a space after the colon: {name}: {value}"
    if hint := nearest(str(key), known):
        return f"unknown key{hint}"
    if elsewhere := _elsewhere(str(key), values, model):
        return f"unknown key here; did you mean '{elsewhere}'?"
    return f"unknown key; known: {', '.join(known[:_MANY])}{', ...' if len(known) > _MANY else ''}"


def _elsewhere(key: str, values: Mapping[str, Any], model: type[BaseModel]) -> str | None:
    for name in model.model_fields:
        section = child_class(model, name, values.get(name))
        if section is not None and key in section.model_fields and key != "name":
            return f"{name}.{key}"
    return key if key in model.model_fields else None


def _none_of(value: Any, known: Sequence[str]) -> str:
    if len(known) == 1:
        return f"must be {known[0]}"
    return f"must be one of {', '.join(known)}{nearest(value, known) if isinstance(value, str) else ''}"


def _quoted(text: str) -> list[str]:
    return re.findall(r"'([^']*)'", text)


def _alternatives(messages: Sequence[str]) -> str:
    """One message for the branches of a union: "must be auto or a whole number"."""
    if len(messages) == 1 or not all(message.startswith("must be ") for message in messages):
        return "; ".join(messages)
    return "must be " + " or ".join(message.removeprefix("must be ") for message in messages)
