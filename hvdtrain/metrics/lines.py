"""Records as JSON values, and as the lines of metrics.jsonl."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any

from hvdtrain.metrics.records import TYPES, Record


def to_dict(record: Record) -> dict[str, Any]:
    """Return the record as JSON-ready values, `event` first. Non-finite numbers become the strings "nan", "inf",
    "-inf".
    """
    values: dict[str, Any] = _plain(dataclasses.asdict(record))
    return {"event": record.event} | values


def from_dict(values: Mapping[str, Any]) -> Record:
    """Return the record that `to_dict` made these values from; keys of a newer version are ignored.

    Raises:
        ValueError: the values are not a record.
    """
    kind = TYPES.get(str(values.get("event")))
    if kind is None:
        raise ValueError(f"not a record: event is {values.get('event')!r}")
    types = {f.name: f.type for f in dataclasses.fields(kind)}
    known = {key: value for key, value in values.items() if key in types}
    try:
        return kind(**{key: value if types[key] == "str" else _restore(value) for key, value in known.items()})
    except TypeError as error:
        raise ValueError(f"not a {kind.event} record: {error}") from error


def dumps(record: Record) -> str:
    """Return the record as one line of JSON."""
    return json.dumps(to_dict(record), allow_nan=False, ensure_ascii=False)


def loads(line: str) -> Record:
    """Return the record in a line that `dumps` wrote; ValueError where it is none."""
    values = json.loads(line)
    if not isinstance(values, dict):
        raise ValueError("not a record: no JSON object")
    return from_dict(values)


def _plain(value: Any) -> Any:
    """JSON has no NaN or infinity; a reader in any language copes with strings."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _restore(value: Any) -> Any:
    if value in ("nan", "inf", "-inf"):
        return float(value)
    if isinstance(value, Mapping):
        return {key: _restore(item) for key, item in value.items()}
    if isinstance(value, list):
        return tuple(_restore(item) for item in value)
    return value
