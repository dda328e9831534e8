"""A document's blocks as one HTML page that needs nothing beside it."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence
from importlib import resources

from hvdtrain.report import format as fmt
from hvdtrain.report.document import Block, Bullets, Code, Heading, Paragraph, Photo, Picture, Table, Terms, turn

# Nothing is fetched and nothing runs, also where a name in the report would have it so.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def page(title: str, blocks: Iterable[Block]) -> str:
    """Return the blocks as a whole page: style and drawings are in it, no script, no address of anything else."""
    style = resources.files("hvdtrain.report").joinpath("page.css").read_text(encoding="utf-8")
    body = "\n".join(_render(block) for block in blocks)
    return (
        "<!DOCTYPE html>\n"
        '<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def escape(text: str) -> str:
    """Return plain text as HTML that shows it, in an element or an attribute."""
    return html.escape(fmt.clean(text))


def _render(block: Block) -> str:
    if isinstance(block, Heading):
        return f"<h{block.level}>{escape(block.text)}</h{block.level}>"
    if isinstance(block, Paragraph):
        return f'<p class="strong">{escape(block.text)}</p>' if block.strong else f"<p>{escape(block.text)}</p>"
    if isinstance(block, Bullets):
        return "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in block.items) + "</ul>"
    if isinstance(block, Terms):
        items = (f"<dt>{escape(term)}</dt><dd>{escape(meaning)}</dd>" for term, meaning in block.items)
        return "<dl>" + "".join(items) + "</dl>"
    if isinstance(block, Code):
        return f"<pre><code>{escape(block.text)}</code></pre>"
    if isinstance(block, Picture):
        rows = (block.panels[at : at + block.together] for at in range(0, len(block.panels), block.together))
        return "\n".join(_panels(row, block.together) for row in rows)
    if isinstance(block, Photo):
        encoded = base64.b64encode(block.content).decode()
        return f'<img class="photo" alt="{escape(block.about)}" src="data:image/png;base64,{encoded}">'
    return _table(turn(block) if block.turned else block)


def _panels(row: Sequence[tuple[str, str]], together: int) -> str:
    return f'<div class="panels of-{together}">' + "".join(_figure(name, svg) for name, svg in row) + "</div>"


def _figure(name: str, svg: str) -> str:
    return f'<figure role="img" aria-label="{escape(name)}">\n{svg}\n</figure>'


def _table(table: Table) -> str:
    words = [index == 0 or name in table.words for index, name in enumerate(table.columns)]
    head = "".join(_cell("th", name, word, ' scope="col"') for name, word in zip(table.columns, words, strict=True))
    rows = []
    for name, *cells in table.rows:
        rest = "".join(_cell("td", cell, word) for cell, word in zip(cells, words[1:], strict=True))
        rows.append("<tr>" + _cell("th", name, True, ' scope="row"') + rest + "</tr>")
    notes = "".join(f'<p class="note">{escape(note)}</p>' for note in table.notes)
    body = "\n".join(rows)
    return (
        f'<div class="wide"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table></div>{notes}'
    )


def _cell(tag: str, cell: str, word: bool, more: str = "") -> str:
    figure, *details = cell.split("\n")
    kind = ' class="word"' if word else ""
    under = "".join(f"<br><small>{escape(detail)}</small>" for detail in details)
    return f"<{tag}{more}{kind}>{escape(figure)}{under}</{tag}>"
