"""A document's blocks as Markdown, made to be read where code is hosted."""

from __future__ import annotations

from collections.abc import Iterable

from hvdtrain.report import format as fmt
from hvdtrain.report.document import Block, Bullets, Code, Heading, Paragraph, Photo, Picture, Table, Terms, turn


def markdown(blocks: Iterable[Block]) -> str:
    """Return the blocks as Markdown text."""
    return "\n\n".join(_render(block) for block in blocks) + "\n"


def escape(text: str) -> str:
    """Return plain text as Markdown that shows it: on one line, with nothing that Markdown or HTML would act on."""
    cleaned = fmt.clean(text).replace("\n", " ")
    for character in "\\`*_[]<>|#~$":
        cleaned = cleaned.replace(character, f"\\{character}")
    return cleaned.replace("&", "&amp;")


def _render(block: Block) -> str:
    if isinstance(block, Heading):
        return f"{'#' * block.level} {escape(block.text)}"
    if isinstance(block, Paragraph):
        return f"**{escape(block.text)}**" if block.strong else escape(block.text)
    if isinstance(block, Bullets):
        return "\n".join(f"- {escape(item)}" for item in block.items)
    if isinstance(block, Terms):
        return "\n".join(f"- **{escape(term)}**: {escape(meaning)}" for term, meaning in block.items)
    if isinstance(block, Code):
        # An indented block can't be closed by what is in it, as a fence could.
        return "\n".join(f"    {line}" for line in fmt.clean(block.text).strip("\n").split("\n"))
    if isinstance(block, Picture):
        return f"![curves of this report]({block.file})"
    if isinstance(block, Photo):
        return f"![{escape(block.about)}]({block.file})"
    return _table(turn(block) if block.turned else block)


def _table(table: Table) -> str:
    ruler = ["---" if index == 0 or name in table.words else "---:" for index, name in enumerate(table.columns)]
    lines = [_row(table.columns), "|" + "|".join(ruler) + "|", *(_row(row) for row in table.rows)]
    notes = [f"\n{escape(note)}" for note in table.notes]
    return "\n".join([*lines, *notes])


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join("<br>".join(escape(line) for line in cell.split("\n")) for cell in cells) + " |"
