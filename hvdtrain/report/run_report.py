"""The four files of a run's report: `report.json`, `report.md`, `report.html` and `report.png`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hvdtrain.metrics.lines import to_dict
from hvdtrain.metrics.records import EndRecord
from hvdtrain.report import format as fmt
from hvdtrain.report.document import Picture
from hvdtrain.report.history import History
from hvdtrain.report.markdown import markdown
from hvdtrain.report.writing import to_json, write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from hvdtrain.report.drawing import Panel


def write_reports(output_dir: Path, history: History) -> list[str]:
    """Write the four files; return what could not be drawn, as sentences.

    Raises:
        OSError: the JSON or the Markdown can't be written. What is drawn never raises.
    """
    write_texts(output_dir, history)
    return write_drawn(output_dir, history)


def write_texts(output_dir: Path, history: History) -> None:
    """Write `report.json` and `report.md`: at once, and only the disk can fail."""
    write_whole(output_dir / "report.json", to_json(report(history)))
    write_whole(output_dir / "report.md", markdown(history))


def write_drawn(output_dir: Path, history: History, plots: bool = True) -> list[str]:
    """Write `report.png` and `report.html`, and the picture into `report.md`; return what failed, as sentences.

    Without `plots`, for which matplotlib takes two seconds, `report.html` has words and tables only.
    """
    try:
        from hvdtrain.report.document_html import page
        from hvdtrain.report.run_document import run_document
        from hvdtrain.report.run_plots import run_figure, run_panels

        if plots:
            picture, notes = draw(output_dir, lambda: run_figure(history), lambda: run_panels(history))
            remarks = notes
        else:
            (output_dir / "report.png").unlink(missing_ok=True)
            picture, notes = None, []
            remarks = ["without curves, as train.plots is false; `hvdtrain report` with this directory draws them"]
        name = history.start.name if history.start else "run"
        blocks = run_document(history, picture, [f"note: {remark}" for remark in remarks])
        write_whole(output_dir / "report.html", page(f"{name} - hvdtrain", blocks))
        if picture:
            write_whole(output_dir / "report.md", markdown(history, picture))
    except Exception as error:  # A run is never lost to its picture.
        return [f"report.html could not be written: {type(error).__name__}: {error}"]
    return notes


def draw(
    output_dir: Path, figure: Callable[[], Figure], panels: Callable[[], Sequence[Panel]], together: int = 2
) -> tuple[Picture | None, list[str]]:
    """Write `report.png` and return the panels for a page; where drawing fails, none and a sentence that says why.

    A picture of an earlier report, which would be wrong beside the new one, does not stay.
    """
    path = output_dir / "report.png"
    try:
        from hvdtrain.report import drawing

        write_whole(path, drawing.png(figure()))
        return Picture(path.name, tuple((panel.name, drawing.svg(panel)) for panel in panels()), together), []
    except Exception as error:
        path.unlink(missing_ok=True)
        return None, [f"report.png could not be drawn: {type(error).__name__}: {error}"]


def report(history: History) -> dict[str, Any]:
    """Return the run in one JSON object: where it began, each evaluation, where it ended."""
    newest = {"start": history.start, "last_step": history.step, "best_eval": history.best, "end": history.end}
    values: dict[str, Any] = {name: to_dict(record) if record else None for name, record in newest.items()}
    values["status"] = history.end.reason if history.end else "failed"
    values["remark"] = history.apart
    values["evals"] = [to_dict(record) for record in history.evals]
    values["step_shares"] = fmt.phase_shares((history.end or history.step or EndRecord(step=0, reason="")).seconds)
    return values
