"""What a column of targets holds: classes, numbers, or texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hvdtrain.data.formats.columns import Kind
from hvdtrain.data.formats.rows import Table, as_number, half_character, is_missing, numbers, texts, wrong

FEW = 20
"""Whole numbers of at most so many different values are classes, where the recipe does not say what they are."""


@dataclass(frozen=True)
class Targets:
    """Targets as of `Examples`, and a note on what they were taken for."""

    values: np.ndarray | list[str]
    class_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def learn_targets(tables: Sequence[Table], column: str, kind: Kind, with_texts: bool) -> Targets:
    """Return the targets of all rows; what can't be used is complained of in the tables.

    Args:
        kind: what they are; see `TargetConfig`.
        with_texts: whether the inputs are texts.

    Raises:
        DataError: a table has no such column.
    """
    values = [value for table in tables for value in table.column(column, "target")]
    found, why = (kind, "") if kind != "auto" else _recognised(values, tables[0].typed, with_texts)
    if found == "text":
        learned = [text for table in tables for text in texts(table, column, "target")]
        return Targets(learned, notes=_note(column, "texts", why))
    if found == "number":
        hint = "" if kind == "number" else ", as most of the column are (or set data.target_kind=class)"
        columns = [numbers(table, column, "target", hint) for table in tables]
        return Targets(np.concatenate(columns), notes=_note(column, "numbers", why))
    return _classes(tables, column, why)


def _recognised(values: Sequence[Any], typed: bool, with_texts: bool) -> tuple[Kind, str]:
    """Tell what targets are by their values, and why."""
    present = [value for value in values if not is_missing(value)]
    if present and all(isinstance(value, (bool, np.bool_)) for value in present):
        return "class", "they are true or false"
    found = [number for value in present if (number := as_number(value, typed)) is not None]
    if 2 * len(found) > len(present):
        if not all(number.is_integer() for number in found):
            return "number", "some have fractions"
        distinct = len(set(found))
        if distinct > FEW or 2 * distinct > len(found):
            return "number", f"they have {distinct} different values"
        return "class", f"they are whole numbers of {distinct} different values"
    distinct = len(set(map(str, present)))
    if with_texts and 2 * distinct > len(present):
        return "text", f"{distinct} of {len(present)} differ"
    return "class", "they are texts"


def _classes(tables: Sequence[Table], column: str, why: str) -> Targets:
    labels: list[str] = []
    for table in tables:
        for row, value in enumerate(table.column(column, "target")):
            if not _is_label(value):
                table.complain(row, wrong(column, value, "the name of a class"))
            elif half := half_character(str(value)):
                table.complain(row, f"{column} holds {half}")
            labels.append(_label(value))
    known = [name for table in tables for name in table.classes.get(column, ())]
    names = [name for name in dict.fromkeys(known) if name in set(labels)] or sorted(set(labels), key=_order)
    ids = {name: index for index, name in enumerate(names)}
    ids_of_all = np.array([ids.get(label, 0) for label in labels], dtype=np.int64)
    shown = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
    return Targets(ids_of_all, tuple(names), _note(column, f"{len(names)} classes ({shown})", why))


def _note(column: str, what: str, why: str) -> tuple[str, ...]:
    """Say what was recognised; nothing where the recipe says it."""
    return (f"target '{column}': {what}, as {why}; data.target_kind says otherwise",) if why else ()


def _is_label(value: Any) -> bool:
    if isinstance(value, (float, np.floating)) and not np.isfinite(value):
        return False
    return not is_missing(value) and isinstance(value, (str, bool, int, float, np.generic))


def _label(value: Any) -> str:
    """Return the name of a class: whole numbers in one spelling, 1 for 1.0, in whatever file they stand."""
    if isinstance(value, (bool, np.bool_)):
        return "true" if value else "false"
    number = as_number(value, typed=False)
    if number is not None and number.is_integer() and abs(number) < 2**53:
        return str(int(number))
    return str(value).strip()


def _order(name: str) -> tuple[bool, float, str]:
    number = as_number(name, typed=False)
    return (True, 0.0, name) if number is None or not np.isfinite(number) else (False, number, name)
