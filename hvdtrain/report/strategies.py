"""The report of a comparison of strategies: on the console, and as `comparison.{json,md,html}`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hvdtrain.errors import UserError
from hvdtrain.metrics.strategies import Comparison
from hvdtrain.report.document_console import console
from hvdtrain.report.document_html import page
from hvdtrain.report.document_markdown import markdown
from hvdtrain.report.strategies_document import strategies_document
from hvdtrain.report.writing import write_whole

if TYPE_CHECKING:
    from rich.console import RenderableType


def strategies_console(comparison: Comparison, width: int) -> RenderableType:
    """Return the report for a terminal of `width` columns."""
    return console(strategies_document(comparison), width)


def check_writable(directory: Path) -> None:
    """Make the directory of a report before anything is measured for it.

    Raises:
        UserError: it can't be made.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--output {directory}: can't be made: {error.strerror}; choose another directory") from error


def write_strategies(directory: Path, comparison: Comparison) -> None:
    """Write `comparison.json`, which holds the whole comparison, and the report made of it.

    Raises:
        UserError: a file can't be written.
    """
    blocks = strategies_document(comparison)
    title = f"Strategies of synchronisation: {comparison.name} - hvdtrain"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        write_whole(directory / "comparison.json", comparison.model_dump_json(indent=2) + "\n")
        write_whole(directory / "comparison.md", markdown(blocks))
        write_whole(directory / "comparison.html", page(title, blocks))
    except OSError as error:
        raise UserError(f"can't write the report in {directory}: {error.strerror}; choose another --output") from error
