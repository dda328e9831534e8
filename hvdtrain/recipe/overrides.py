"""Changes from the command line: `optimizer.lr=3e-4`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from hvdtrain.recipe.layers import Layer, Place, Problem
from hvdtrain.recipe.text import KeyPath, YamlSyntaxError, parse, resolve_plain

_KEY = re.compile(r"[^.\s=]+(\.[^.\s=]+)*")


def read_overrides(overrides: Sequence[str]) -> tuple[Layer, list[Problem]]:
    """Read all overrides as one layer, the last word on a key winning; and what is wrong with their form.

    A value is an unquoted YAML scalar, whatever it contains, or a quoted string, list or mapping in YAML's flow style.
    """
    layer, problems = Layer(), []
    for number, override in enumerate(overrides, start=1):
        place = Place(override, number, "override")
        try:
            path, value = _split(override)
        except _WrongOverrideError as error:
            problems.append(Problem(place, (), str(error)))
            continue
        _set(layer, path, value, place)
    return layer, problems


class _WrongOverrideError(Exception):
    pass


def _split(override: str) -> tuple[KeyPath, Any]:
    key, equals, text = override.partition("=")
    if not equals or not _KEY.fullmatch(key):
        raise _WrongOverrideError("must be key=value, such as optimizer.lr=3e-4")
    if key == "extends":
        raise _WrongOverrideError("extends stands in a file; make a recipe that extends another one")
    return tuple(key.split(".")), _value(text.strip())


def _value(text: str) -> Any:
    if not text.startswith(("[", "{", '"', "'", "!")):
        return resolve_plain(text)
    try:
        parsed = parse(text)
    except YamlSyntaxError as error:
        raise _WrongOverrideError(str(error)) from None
    if parsed.problems:
        raise _WrongOverrideError("; ".join(message for _, _, message in parsed.problems))
    return parsed.value


def _set(layer: Layer, path: KeyPath, value: Any, place: Place) -> None:
    """Set a value, or those in a mapping one by one, so that what earlier overrides set beside them stays."""
    section = layer.values
    for part in path[:-1]:
        below = section.get(str(part))
        if not isinstance(below, dict):
            below = section[str(part)] = {}
        section = below
    layer.places.update({path[: length + 1]: place for length in range(len(path))})
    last = str(path[-1])
    if isinstance(value, dict):
        section[last] = below if isinstance(below := section.get(last), dict) else {}
        for key, item in value.items():
            _set(layer, (*path, key), item, place)
        return
    section[last] = value
    layer.places.update(dict.fromkeys(_items(value, path), place))


def _items(value: Any, path: KeyPath) -> list[KeyPath]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, item in inner for found in ((*path, key), *_items(item, (*path, key)))]
