"""A report as blocks: made once of what is known, rendered for the console, as Markdown and as HTML.

Text in a block is plain, and may be foreign: each renderer escapes what its language would act on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias


@dataclass(frozen=True)
class Heading:
    """A title; level 1 is the whole report's."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Paragraph:
    """Sentences; `strong` for the one that must not be missed."""

    text: str
    strong: bool = False


@dataclass(frozen=True)
class Bullets:
    """Short texts of equal rank."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Code:
    """What a person copies, or text that keeps its line breaks."""

    text: str


@dataclass(frozen=True)
class Terms:
    """Words and what they mean."""

    items: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Table:
    """A first row of names, then a row for each thing, the first cell its name.

    A line break in a cell puts what follows under the figure, as a detail of it. `notes` are the sentences beneath.
    `turned` shows the things as columns wherever they fit, for tables that are read downward; `words` holds the
    columns (by their names) whose cells are words rather than figures.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    turned: bool = False
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Picture:
    """A drawing: `file` is the picture beside a Markdown report, `panels` are (description, SVG) for HTML.

    So many panels belong `together`: they stand in one row where it is wide enough, and never beside others.
    """

    file: str
    panels: tuple[tuple[str, str], ...] = ()
    together: int = 2


@dataclass(frozen=True)
class Photo:
    """A PNG that a run left: `file` beside the report, its content for HTML (nothing where it is gone)."""

    file: str
    content: bytes
    about: str


Block: TypeAlias = Heading | Paragraph | Bullets | Code | Terms | Table | Picture | Photo


def turn(table: Table) -> Table:
    """Return the table with its columns as rows."""
    columns, *rows = zip(table.columns, *table.rows, strict=True)
    return replace(table, columns=columns, rows=tuple(rows), turned=False, words=())


def natural_width(table: Table, gap: int = 2) -> int:
    """Return the characters that a line of the table takes without breaking a cell."""
    columns = zip(table.columns, *table.rows, strict=True)
    widths = (max(len(line) for cell in column for line in cell.split("\n")) for column in columns)
    return sum(widths) + gap * (len(table.columns) - 1)


def fitted(table: Table, width: int, gap: int = 2) -> list[Table]:
    """Return the table in the form that fits a width: as it is, turned, or in several tables of fewer columns.

    Only the last of several keeps the notes. A table of a single thing may still be too wide: its cells must break.
    """
    if table.turned:
        return _split(turn(table), width, gap)
    if natural_width(table, gap) <= width or len(table.columns) <= 2:
        return [table]
    return _split(turn(table), width, gap)


def _split(table: Table, width: int, gap: int) -> list[Table]:
    """Return tables that repeat the first column, each with as many of the others as fit, at least one."""
    parts: list[list[int]] = []
    for column in range(1, len(table.columns)):
        if parts and natural_width(_choose(table, [*parts[-1], column]), gap) <= width:
            parts[-1].append(column)
        else:
            parts.append([column])
    made = [replace(_choose(table, chosen), notes=()) for chosen in parts] or [table]
    return [*made[:-1], replace(made[-1], notes=table.notes)]


def _choose(table: Table, columns: Sequence[int]) -> Table:
    def pick(cells: Sequence[str]) -> tuple[str, ...]:
        return (cells[0], *(cells[column] for column in columns))

    return replace(table, columns=pick(table.columns), rows=tuple(pick(row) for row in table.rows))


def numbered(texts: Sequence[str]) -> Iterator[str]:
    """Return the texts with numbers, where there are several."""
    for number, text in enumerate(texts, start=1):
        yield f"{number}. {text}" if len(texts) > 1 else text
