from __future__ import annotations

import io

import pytest
from rich.console import Console

from hvdtrain.report.document import (
    Bullets,
    Code,
    Heading,
    Paragraph,
    Picture,
    Table,
    Terms,
    fitted,
    natural_width,
    turn,
)
from hvdtrain.report.document_console import console
from hvdtrain.report.document_html import page
from hvdtrain.report.document_markdown import escape, markdown

TABLE = Table(
    ("workers", "tokens/s", "efficiency"),
    (("1", "1,000\n990 to 1,010", "100 %"), ("2*", "1,800", "90 %"), ("16", "9,000", "56 %")),
    notes=("* oversubscribed",),
)
BLOCKS = [
    Heading("Title", 1),
    Paragraph("It is slow.", strong=True),
    Bullets(("first", "second")),
    Code("optimizer.lr=1\n  two"),
    Terms((("MFU", "of the peak"),)),
    TABLE,
]


def printed(blocks: list, width: int) -> list[str]:
    terminal = Console(width=width, file=io.StringIO(), color_system=None)
    terminal.print(console(blocks, width))
    return terminal.file.getvalue().splitlines()  # type: ignore[attr-defined]


def cells(tables: list[Table]) -> set[tuple[str, str, str]]:
    """Each figure with the names of its row and its column, whichever way the table lies."""
    return {
        (*sorted((row[0], column)), cell)  # type: ignore[misc]
        for table in tables
        for row in table.rows
        for column, cell in zip(table.columns[1:], row[1:], strict=True)
    }


@pytest.mark.parametrize("width", [200, 40, 30, 24])
def test_no_figure_is_lost_in_a_table_that_is_made_to_fit(width: int) -> None:
    tables = fitted(TABLE, width)
    assert cells(tables) == cells([TABLE])
    assert all(natural_width(table) <= width or len(table.columns) == 2 for table in tables)
    assert [table.notes for table in tables] == [()] * (len(tables) - 1) + [TABLE.notes]


def test_a_table_that_fits_stays_as_it_is_unless_it_is_read_downward() -> None:
    assert fitted(TABLE, 80) == [TABLE]
    (turned,) = fitted(Table(TABLE.columns, TABLE.rows, turned=True), 80)
    assert turned.columns == ("workers", "1", "2*", "16")
    assert turned.rows[1] == ("efficiency", "100 %", "90 %", "56 %")


def test_turning_twice_is_the_table() -> None:
    assert turn(turn(TABLE)) == TABLE


@pytest.mark.parametrize("width", [24, 40, 80, 120])
def test_the_console_stays_within_its_width_and_says_all(width: int) -> None:
    lines = printed(BLOCKS, width)
    assert max(len(line.rstrip()) for line in lines) <= width
    text = "\n".join(lines)
    for fact in ("Title", "It is slow.", "- first", "optimizer.lr=1", "MFU", "9,000", "990 to 1,010", "56 %"):
        assert fact in text


def test_figures_stand_under_each_other() -> None:
    lines = printed([TABLE], 80)
    ends = {line.rstrip().rfind("%") for line in lines if "%" in line}
    assert len(ends) == 1


def test_markup_of_a_terminal_or_a_hostile_name_does_nothing() -> None:
    text = "\n".join(printed([Paragraph("[bold]x[/bold] \x1b[2J"), Table(("a", "[red]b"), (("\x1b[1m", "[/]"),))], 80))
    assert "[bold]x[/bold]" in text
    assert "[red]b" in text
    assert "\x1b" not in text


def test_markdown_has_a_row_for_each_thing() -> None:
    text = markdown(BLOCKS)
    assert "# Title\n" in text
    assert "**It is slow.**" in text
    assert "| workers | tokens/s | efficiency |\n|---|---:|---:|\n" in text
    assert "| 1 | 1,000<br>990 to 1,010 | 100 % |" in text
    assert "| 2\\* | 1,800 | 90 % |" in text
    assert "\n    optimizer.lr=1\n      two" in text
    assert "\\* oversubscribed" in text


def test_markdown_can_not_be_broken_by_what_it_shows() -> None:
    assert escape("a|b\n# c <b> [x](y) *z* &lt;") == "a\\|b \\# c \\<b\\> \\[x\\](y) \\*z\\* &amp;lt;"


def test_html_has_the_figures_with_their_details() -> None:
    text = page("T", BLOCKS)
    assert "<h1>Title</h1>" in text
    assert "<td>1,000<br><small>990 to 1,010</small></td>" in text
    assert '<th scope="row" class="word">2*</th>' in text
    assert "<dt>MFU</dt><dd>of the peak</dd>" in text


def test_panels_that_belong_together_share_a_row() -> None:
    panels = tuple((f"p{index}", f"<svg>{index}</svg>") for index in range(6))
    text = page("T", [Picture("x.png", panels, together=3)])
    rows = text.split('<div class="panels of-3">')[1:]
    assert [row.count("<svg>") for row in rows] == [3, 3]
    assert "![curves of this report](x.png)" in markdown([Picture("x.png", panels)])
