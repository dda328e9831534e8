"""Rows with named columns, as read from one file, and what is wrong with them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hvdtrain.data.documents import readable
from hvdtrain.errors import DataError, nearest

SHOWN = 5
"""Bad rows of a file that a message lists."""


@dataclass
class Table:
    """The rows of a file.

    Attributes:
        name: what messages call the file.
        digest: a hash of its content.
        columns: the values of each column that the recipe takes, None where a row has none; the others are empty.
        rows: how many there are.
        lines: the line that each row begins on; None: rows are called by their numbers from 1.
        typed: whether a value's type says what it is; otherwise all values are texts, some of which are numbers.
        classes: of columns whose classes have an order of their own.
        unnamed: columns that the file gives no name, called by their place.
        notes: what a person should know of how they were read.
        bad: what is wrong with a row, by its number; only the first thing of each is kept.
    """

    name: str
    digest: str
    columns: Mapping[str, Sequence[Any] | np.ndarray]
    rows: int
    lines: Sequence[int] | None
    typed: bool
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unnamed: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()
    bad: dict[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.rows

    def where(self, row: int) -> str:
        """Return the place of a row, such as "houses.csv:3"."""
        return f"{self.name}, row {row + 1}" if self.lines is None else f"{self.name}:{self.lines[row]}"

    def complain(self, row: int, message: str) -> None:
        """Note what is wrong with a row."""
        self.bad.setdefault(row, message)

    def column(self, name: str, key: str) -> Sequence[Any] | np.ndarray:
        """Return the values of a column.

        Raises:
            DataError: there is none of that name; `key` is where the recipe names it, and empty where none does.
        """
        if name not in self.columns:
            raise unknown_column(self.name, name, self.columns, key)
        return self.columns[name]


def unknown_column(file: str, name: str, known: Iterable[str], key: str) -> DataError:
    """Return the error of a column that is not there."""
    listed = list(known)
    columns = ", ".join(listed[:20]) + (", ..." if len(listed) > 20 else "")
    place = f"data.{key}: " if key else ""
    return DataError(f"{place}{file} has no column '{name}'{nearest(name, listed)} (it has {columns or 'none'})")


def raise_bad_rows(tables: Iterable[Table]) -> None:
    """Make sure that no row is bad.

    Raises:
        DataError: lists the first five bad rows of each file (of the first five files), and counts the others.
    """
    blocks = [_block(table) for table in tables if table.bad]
    if len(blocks) > SHOWN:
        blocks[SHOWN:] = [f"and {len(blocks) - SHOWN} more files with such rows"]
    if blocks:
        raise DataError("\n".join(blocks))


def _block(table: Table) -> str:
    count = len(table.bad)
    rows = [f"{table.where(row)}: {table.bad[row]}" for row in sorted(table.bad)[:SHOWN]]
    if count == 1:
        return rows[0]
    more = [f"and {count - SHOWN} more"] if count > SHOWN else []
    return "\n  ".join([f"{table.name}: {count} of {len(table)} rows can't be used:", *rows, *more])


def is_missing(value: Any) -> bool:
    """Tell whether a row has no value there: none at all, or an empty text."""
    return value is None or (isinstance(value, str) and not value.strip())


def as_number(value: Any, typed: bool) -> float | None:
    """Return a value as a number, which may be NaN or infinite, or None where it is none."""
    if isinstance(value, str) and (typed or "_" in value):  # Python reads 1_000
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def numbers(table: Table, name: str, key: str, hint: str = "") -> np.ndarray:
    """Return a column as (rows,) float64; NaN, and a complaint, where a value is no finite number.

    `hint` is said beside each value that is none.
    """
    values = table.column(name, key)
    if isinstance(values, np.ndarray):
        found = values.astype(np.float64)
    else:
        converted = (as_number(value, table.typed) for value in values)
        found = np.array([np.nan if number is None else number for number in converted], dtype=np.float64)
    for row in np.flatnonzero(~np.isfinite(found)).tolist():
        table.complain(row, wrong(name, values[row], "a finite number", hint))
    return found


def texts(table: Table, name: str, key: str, *, may_be_empty: bool = False) -> list[str]:
    """Return a column as texts; a complaint where a value is empty, of another type, or can't be written."""
    values = table.column(name, key)
    for row, value in enumerate(values):
        if not isinstance(value, str) or not (may_be_empty or value.strip()):
            table.complain(row, wrong(name, value, "a text"))
        elif half := half_character(value):
            table.complain(row, f"{name} holds {half}")
    return [str(value) for value in values]


def half_character(text: str) -> str:
    r"""Say what is wrong with a text that no file can hold: JSON can spell half of a character, "\ud800"."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = ascii(text[error.start])
        return f"half of a character, {half} (character {error.start + 1}); write it whole, or leave it out"
    return ""


def wrong(name: str, value: Any, expected: str, hint: str = "") -> str:
    """Say that a value is not what was expected."""
    if is_missing(value):
        return f"{name} has no value; expected {expected}"
    shown = repr(value.item() if isinstance(value, np.generic) else value)
    return f"{name} is {shown if len(shown) <= 60 else shown[:57] + '...'}; expected {expected}{hint}"


def read_text(name: str, path: Path, encoding: str = "utf-8", remedy: str = "convert it first") -> tuple[str, str]:
    """Return a file's text without a byte order mark, and the hash of its content.

    Raises:
        DataError: it can't be read, or is not in that encoding; names the line.
    """
    with readable(name):
        raw = path.read_bytes()
    try:
        return raw.decode(encoding).removeprefix("\ufeff"), hashlib.sha256(raw).hexdigest()
    except UnicodeError as error:
        start = getattr(error, "start", 0)
        line = raw[:start].count(b"\n") + 1
        raise DataError(
            f"{name}:{line}: not {encoding} (byte {start} of the file: {getattr(error, 'reason', error)}); {remedy}"
        ) from error
