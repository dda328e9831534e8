"""A document's blocks for a terminal of a given width."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from hvdtrain.report import format as fmt
from hvdtrain.report.document import Block, Bullets, Code, Heading, Paragraph, Photo, Table, Terms, fitted

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

_GAP = 2


def console(blocks: Iterable[Block], width: int) -> RenderableType:
    """Return the blocks for a terminal; pictures are left out. Nothing is cut off: what is too long wraps."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = []
    for block in blocks:
        made = list(_render(block, width))
        if parts and made and not (isinstance(block, Code | Bullets)):
            parts.append(Text())
        parts += made
    return Group(*parts)


def _render(block: Block, width: int) -> Iterator[RenderableType]:
    from rich.padding import Padding
    from rich.text import Text

    if isinstance(block, Heading):
        yield Text(fmt.clean(block.text), style={1: "bold cyan", 2: "bold underline"}.get(block.level, "bold"))
    elif isinstance(block, Paragraph):
        yield Text(fmt.clean(block.text), style="bold" if block.strong else "")
    elif isinstance(block, Code):
        yield Padding(Text(fmt.clean(block.text), style="cyan"), (0, 0, 0, 4))
    elif isinstance(block, Bullets):
        yield from (_hanging("-", Text(fmt.clean(item))) for item in block.items)
    elif isinstance(block, Terms):
        for term, meaning in block.items:
            yield _hanging("-", Text.assemble((fmt.clean(term), "bold"), f": {fmt.clean(meaning)}"))
    elif isinstance(block, Photo):
        yield Text(f"{fmt.clean(block.about)}: {fmt.clean(block.file)}", style="dim")
    elif isinstance(block, Table):
        for index, part in enumerate(fitted(block, width, _GAP)):
            if index:
                yield Text()
            yield _table(part)
        yield from (Text(fmt.clean(note), style="dim") for note in block.notes)


def _hanging(mark: str, text: RenderableType) -> RenderableType:
    from rich.table import Table as Grid

    grid = Grid.grid(padding=(0, 1, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(f"  {mark}", text)
    return grid


def _table(table: Table) -> RenderableType:
    from rich.table import Table as Grid
    from rich.text import Text

    grid = Grid(box=None, padding=(0, _GAP, 0, 0), pad_edge=False, header_style="bold", show_edge=False)
    for index, name in enumerate(table.columns):
        left = index == 0 or name in table.words
        grid.add_column(Text(fmt.clean(name)), justify="left" if left else "right", overflow="fold")
    for row in table.rows:
        grid.add_row(*(_cell(cell, first=index == 0) for index, cell in enumerate(row)))
    return grid


def _cell(cell: str, *, first: bool) -> Text:
    from rich.text import Text

    figure, *details = fmt.clean(cell).split("\n")
    text = Text(figure, style="" if not first else "dim", overflow="fold")
    for detail in details:
        text.append(f"\n{detail}", style="dim")
    return text
