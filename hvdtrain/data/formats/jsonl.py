"""JSONL, an object a line, into columns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hvdtrain.data.formats.rows import Table, half_character, raise_bad_rows, read_text
from hvdtrain.errors import DataError


def read_jsonl(name: str, path: Path, wanted: set[str] | None = None) -> Table:
    """Return the objects of a file; lines without anything are none.

    Args:
        wanted: the keys to keep; None: all.

    Raises:
        DataError: the file can't be read, is not UTF-8, or is a JSON array.
    """
    text, digest = read_text(name, path)
    lines: list[int] = []
    objects: list[dict[str, Any]] = []
    table = Table(name, digest, {}, 0, lines, typed=True)
    for number, line in enumerate(text.split("\n"), start=1):  # texts may hold what str.splitlines takes for an end
        if not line.strip():
            continue
        found = _parse(line)
        if isinstance(found, str):
            table.complain(len(lines), found)
        lines.append(number)
        objects.append({} if isinstance(found, str) else found)
    if 0 in table.bad and text.lstrip().startswith("["):
        raise DataError(f"{table.where(0)}: a JSON array is no JSONL: write one object a line")
    table.rows = len(lines)
    if len(table.bad) == len(lines):  # there are no columns to look for
        raise_bad_rows([table])
    keys = dict.fromkeys(key for values in objects for key in values)
    kept = [key for key in keys if wanted is None or key in wanted]
    table.columns = {key: [values.get(key) for values in objects] if key in kept else [] for key in keys}
    return table


def _parse(line: str) -> dict[str, Any] | str:
    """Return the object of a line, or what is wrong with it."""
    repeated: list[str] = []

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values = dict(pairs)
        if len(values) < len(pairs):
            keys = [key for key, _ in pairs]
            repeated.extend(key for key in values if keys.count(key) > 1)
        return values

    try:
        values = json.loads(line, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        return f"not JSON ({error})"
    if not isinstance(values, dict):
        return f"expected a JSON object, and this is {line.strip()[:40]}"
    if half := half_character("".join(values)):
        return f"a key holds {half}"
    return f"has the key '{repeated[0]}' twice" if repeated else values
