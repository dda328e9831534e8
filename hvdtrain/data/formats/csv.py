"""CSV (RFC 4180) into columns of texts."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hvdtrain.data.formats.rows import Table, read_text
from hvdtrain.errors import DataError

_REMEDY = "set data.encoding to the encoding of the file, such as cp1252, or convert the file"


@dataclass(frozen=True)
class CsvForm:
    """How a file is written: `columns` are their names, where it has no header. `may_set` is whether whoever reads a
    message has a recipe in which to set it."""

    columns: Sequence[str] | None = None
    delimiter: str = ","
    encoding: str = "utf-8"
    may_set: bool = True


def read_csv(name: str, path: Path, wanted: set[str] | None, form: CsvForm) -> Table:
    """Return the rows of a file; lines without anything are none.

    Args:
        wanted: the columns to keep; None: all.
        form: how the file is written.

    Raises:
        DataError: the file can't be read or decoded, has no header or one with a name twice, or a quote is not closed.
    """
    remedy = _REMEDY if form.may_set else "convert the file to it"
    text, digest = read_text(name, path, form.encoding, remedy)
    lines: list[int] = []
    table = Table(name, digest, {}, 0, lines, typed=False)
    header: list[str] = []
    kept: list[tuple[int, list[str | None]]] = []
    for line, fields in _fields(name, text, form.delimiter):
        if not header:
            header = list(form.columns or [field.strip() for field in fields])
            table.columns, kept = _make_columns(header, wanted, f"{name}:{line}")
            table.unnamed = frozenset(_called(place) for place, field in enumerate(header) if not field)
            if form.columns is None:
                continue
        if len(fields) != len(header):
            expected = "data.columns names" if form.columns else "the header has"
            table.complain(len(lines), f"{_count(len(fields))}, and {expected} {len(header)}")
        lines.append(line)
        for place, values in kept:
            values.append(fields[place] if place < len(fields) else None)
    if not header:
        raise DataError(f"{name} is empty")
    table.rows = len(lines)
    if wanted and wanted - set(header):
        _suspect_delimiter(name, header, form)
    return table


def _fields(name: str, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the line that each row begins on, and its fields."""
    with _long_fields():
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        line = 1
        try:
            for fields in reader:
                if fields:
                    yield line, fields
                line = reader.line_num + 1
        except csv.Error as error:
            raise DataError(f"{name}:{line}: this row is not CSV ({error})") from error


@contextmanager
def _long_fields() -> Iterator[None]:
    """Let a field have any length: the default limit is 131,072 characters."""
    before = csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _make_columns(
    header: Sequence[str], wanted: set[str] | None, place: str
) -> tuple[dict[str, list[str | None]], list[tuple[int, list[str | None]]]]:
    """Return the columns to fill, by name, and by place in a row; a column without a name is called by its place."""
    names = [name or _called(at) for at, name in enumerate(header)]
    if repeated := [name for name in names if names.count(name) > 1]:
        raise DataError(f"{place}: two columns are called '{repeated[0]}'; give each its own name")
    columns: dict[str, list[str | None]] = {name: [] for name in names}
    return columns, [(at, columns[name]) for at, name in enumerate(names) if wanted is None or name in wanted]


def _called(place: int) -> str:
    return f"(column {place + 1})"


def _suspect_delimiter(name: str, header: Sequence[str], form: CsvForm) -> None:
    if len(header) == 1:
        for other, written in ((";", ";"), ("\t", "\\t"), ("|", "|"), (",", ",")):
            if other != form.delimiter and other in header[0]:
                set_it = f'set data.delimiter: "{written}"'
                convert = f"convert the file: those for this model have {form.delimiter!r} there"
                raise DataError(
                    f"{name}: the header is one column, '{header[0]}'; if '{written}' stands between fields, "
                    f"{set_it if form.may_set else convert}"
                )


def _count(fields: int) -> str:
    return "1 field" if fields == 1 else f"{fields} fields"
