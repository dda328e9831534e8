"""The report of a scaling study: on the console, and as `report.{json,md,html,png}` in the sweep's directory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from hvdtrain.errors import UserError
from hvdtrain.metrics.study import Study
from hvdtrain.report.document import Picture
from hvdtrain.report.document_console import console
from hvdtrain.report.document_html import page
from hvdtrain.report.document_markdown import markdown
from hvdtrain.report.run_report import draw
from hvdtrain.report.study_document import study_document
from hvdtrain.report.writing import write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import RenderableType

REPORT = "report.json"


def study_console(study: Study, width: int) -> RenderableType:
    """Return the report for a terminal of `width` columns."""
    return console(study_document(study), width)


def study_markdown(study: Study, picture: Picture | None = None) -> str:
    """Return the report as Markdown; `picture` is a file beside it."""
    return markdown(study_document(study, picture))


def study_html(study: Study, picture: Picture | None = None, notes: tuple[str, ...] = ()) -> str:
    """Return the report as one page with nothing beside it; drawn here where no picture is handed in."""
    if picture is None and not notes:
        from hvdtrain.report import drawing
        from hvdtrain.report.study_plots import study_panels

        panels = tuple((panel.name, drawing.svg(panel)) for panel in study_panels(study))
        picture = Picture("report.png", panels, together=3)
    return page(f"Scaling of {study.name} - hvdtrain", study_document(study, picture, notes))


def study_figure(study: Study) -> Figure:
    """Return the plots as one figure, a row for each mode."""
    from hvdtrain.report.study_plots import study_figure as drawn

    return drawn(study)


def write_study(directory: Path, study: Study) -> list[str]:
    """Write `report.json`, which holds the whole study, and the report made of it; return what could not be drawn.

    Raises:
        UserError: a file can't be written.
    """
    from hvdtrain.report.study_plots import study_figure as figure
    from hvdtrain.report.study_plots import study_panels

    try:
        directory.mkdir(parents=True, exist_ok=True)
        write_whole(directory / REPORT, study.model_dump_json(indent=2) + "\n")
        picture, notes = draw(directory, lambda: figure(study), lambda: study_panels(study), together=3)
        write_whole(directory / "report.md", study_markdown(study, picture))
        write_whole(directory / "report.html", study_html(study, picture, tuple(f"note: {note}" for note in notes)))
    except OSError as error:
        raise UserError(f"can't write the report in {directory}: {error.strerror}; choose another directory") from error
    return notes


def read_study(directory: Path) -> Study:
    """Return the study whose report is in a directory.

    Raises:
        UserError: there is none, or `report.json` is not that of a sweep.
    """
    path = directory / REPORT
    try:
        return Study.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UserError(f"can't read {path}: {error.strerror}; a sweep leaves it in its directory") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UserError(
            f"{path} is not the report of a sweep ({where + ': ' if where else ''}{first['msg']}); "
            "'hvdtrain scale' writes it"
        ) from error
