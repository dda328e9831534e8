"""Several runs side by side: how their recipes differ, what they reached, how fast, and where the time went."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

from hvdtrain.errors import UserError
from hvdtrain.metrics.records import PHASES, StepRecord
from hvdtrain.report import format as fmt
from hvdtrain.report.document import Block, Heading, Paragraph, Picture, Table
from hvdtrain.report.document_console import console
from hvdtrain.report.history import History, metric_names
from hvdtrain.report.run_document import shown
from hvdtrain.report.run_report import draw, report
from hvdtrain.report.sources import RunSource, differences
from hvdtrain.report.study_tables import rounded_parts
from hvdtrain.report.writing import to_json, write_whole

if TYPE_CHECKING:
    from rich.console import RenderableType


def letters(count: int) -> list[str]:
    """Return short names for runs, as spreadsheets name columns: A to Z, AA and so on. Names of runs may be equal."""
    names = []
    for number in range(count):
        name, rest = "", number + 1
        while rest:
            rest, digit = divmod(rest - 1, 26)
            name = chr(ord("A") + digit) + name
        names.append(name)
    return names


def run_name(run: RunSource) -> str:
    """Return a run's own name, or that of its directory where it is not known."""
    return run.history.start.name if run.history.start else run.directory.resolve().name


def comparison_document(
    runs: Sequence[RunSource], picture: Picture | None = None, notes: Sequence[str] = ()
) -> list[Block]:
    """Return the report of several runs; `notes` are what its reader must know first."""
    names = letters(len(runs))
    blocks: list[Block] = [Heading("Runs side by side", 1), *(Paragraph(note, strong=True) for note in notes)]
    rows = tuple((name, run_name(run), str(run.directory)) for name, run in zip(names, runs, strict=True))
    blocks += [Table(("run", "name", "directory"), rows, words=("name", "directory"))]
    said = [f"{name} is {run.history.apart}." for name, run in zip(names, runs, strict=True) if run.history.apart]
    blocks += [Paragraph(sentence, strong=True) for sentence in said]
    blocks += [Heading("How the recipes differ"), *_recipes(runs, names)]
    blocks += [Heading("Curves"), picture] if picture else []
    blocks += [Heading("Result"), _turned(names, _results(runs))]
    if any(split(run.history) for run in runs):
        note = "Times in milliseconds, means over workers and logged steps; the parts sum to the step."
        blocks += [Heading("Where a step's time goes"), _turned(names, _parts(runs), (note,))]
    return blocks


def comparison_console(runs: Sequence[RunSource], width: int) -> RenderableType:
    """Return the comparison for a terminal of `width` columns."""
    return console(comparison_document(runs), width)


def write_comparison(directory: Path, runs: Sequence[RunSource]) -> list[str]:
    """Write the comparison as `report.{json,md,html,png}`; return what could not be drawn, as sentences.

    Raises:
        UserError: a file can't be written.
    """
    from hvdtrain.report.comparison_plots import comparison_figure, comparison_panels
    from hvdtrain.report.document_html import page
    from hvdtrain.report.document_markdown import markdown

    try:
        directory.mkdir(parents=True, exist_ok=True)
        write_whole(directory / "report.json", to_json(_values(runs)))
        picture, notes = draw(directory, lambda: comparison_figure(runs), lambda: comparison_panels(runs))
        write_whole(directory / "report.md", markdown(comparison_document(runs, picture)))
        blocks = comparison_document(runs, picture, [f"note: {note}" for note in notes])
        write_whole(directory / "report.html", page("Runs side by side - hvdtrain", blocks))
    except OSError as error:
        raise UserError(f"can't write the report in {directory}: {error.strerror}; choose another --output") from error
    return notes


def _values(runs: Sequence[RunSource]) -> dict[str, Any]:
    names = letters(len(runs))
    each = {
        name: {"directory": str(run.directory), **report(run.history)} for name, run in zip(names, runs, strict=True)
    }
    differ = differences([run.recipe for run in runs])
    return {"runs": each, "differences": {key: dict(zip(names, values, strict=True)) for key, values in differ.items()}}


def _recipes(runs: Sequence[RunSource], names: Sequence[str]) -> Iterator[Block]:
    lacking = [name for name, run in zip(names, runs, strict=True) if run.recipe is None]
    if lacking:
        yield Paragraph(f"No recipe.yaml that can be read: {', '.join(lacking)}.")
    differ = differences([run.recipe for run in runs])
    if differ:
        yield _turned(names, [(key, values) for key, values in differ.items()], first="key")
    elif len(lacking) < len(runs) - 1:
        yield Paragraph("They do not differ, but for name and output_dir.")


def _turned(
    names: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]], notes: tuple[str, ...] = (), first: str = "run"
) -> Table:
    """Return a table with a column for each run; one for many runs is cut into several on a narrow terminal."""
    columns = (first, *(name for name, _ in rows))
    by_run = tuple((name, *(values[index] for _, values in rows)) for index, name in enumerate(names))
    return Table(columns, by_run, notes, turned=True)


def _results(runs: Sequence[RunSource]) -> list[tuple[str, list[str]]]:
    """Return what each run reached; a row that no run has anything for is left out."""
    histories = [run.history for run in runs]
    rows: list[tuple[str, Callable[[History], str]]] = [
        ("status", lambda one: one.end.reason if one.end else "no end"),
        ("steps", lambda one: f"{one.steps_done:,}"),
        ("workers", workers),
        ("device", lambda one: one.start.device if one.start else "-"),
        ("precision", lambda one: one.start.precision if one.start else "-"),
        ("global batch", lambda one: f"{one.start.global_batch_size:,}" if one.start else "-"),
        ("samples", lambda one: _count(one, "samples")),
        ("tokens", lambda one: _count(one, "tokens") if one.unit == "tokens" else "-"),
        ("time", lambda one: fmt.duration(last.elapsed if (last := one.end or one.step) else None)),
        ("training loss", lambda one: fmt.loss(train_loss(one))),
    ]
    known = metric_names({key: 0.0 for one in histories for key in metrics(one)})
    rows += [(f"validation {name}", partial(_metric, name=name)) for name, _ in known]
    rows += [
        ("best validation", _best),
        *(
            (name, partial(_reference, metric=metric, name=name))
            for metric, name in dict.fromkeys(mark for one in histories for mark in _marks(one))
        ),
        ("tokens/s", lambda one: fmt.rate(rate(one, "tokens_per_second") or None) if one.unit == "tokens" else "-"),
        ("samples/s", lambda one: fmt.rate(rate(one, "samples_per_second") or None)),
        ("MFU", lambda one: fmt.percent(one.end.mfu, 1) if one.end else "-"),
        ("memory", lambda one: fmt.size(one.step.memory_bytes) if one.step and one.step.memory_bytes else "-"),
    ]
    made = [(name, [show(one) for one in histories]) for name, show in rows]
    return [(name, values) for name, values in made if any(value != "-" for value in values)]


def _parts(runs: Sequence[RunSource]) -> list[tuple[str, list[str]]]:
    splits = [split(run.history) for run in runs]
    longest = max(times.get("step", 0.0) for times in splits)
    digits = 0 if longest >= 10 else 1 if longest >= 0.1 else 2 if longest >= 0.01 else 3
    rounded = [rounded_parts(times, digits) if times else None for times in splits]
    return [(name, [f"{parts[name]:,.{digits}f}" if parts else "-" for parts in rounded]) for name in (*PHASES, "step")]


def timed(history: History) -> list[StepRecord]:
    """Return the logged steps without the first, which is warm-up, where there are others."""
    return history.curve[1:] or history.curve


def rate(history: History, name: str) -> float:
    """Return a run's rate: that of its last record, or, where it was killed, the median over its logged steps."""
    if history.end and getattr(history.end, name):
        return float(getattr(history.end, name))
    values = [getattr(step, name) for step in timed(history)]
    return float(median(values)) if values else 0.0


def split(history: History) -> Mapping[str, float]:
    """Return a run's mean step and its parts; nothing where none was timed."""
    if history.end and history.end.seconds:
        return history.end.seconds
    steps = [step.seconds for step in timed(history) if math.isfinite(step.seconds.get("step", math.nan))]
    return {name: fmean(one.get(name, 0.0) for one in steps) for name in ("step", *PHASES)} if steps else {}


def metrics(history: History) -> Mapping[str, float]:
    """Return the metrics of the last evaluation."""
    return (history.end.metrics if history.end else {}) or (history.eval.metrics if history.eval else {})


def train_loss(history: History) -> float | None:
    """Return the training loss of the last window."""
    if history.end and history.end.train_loss is not None:
        return history.end.train_loss
    return history.step.loss if history.step else None


def workers(history: History) -> str:
    """Return the number of workers, or the numbers one after the other where a run changed its size."""
    sizes: list[int] = []
    for step in history.curve:
        if not sizes or sizes[-1] != step.world_size:
            sizes.append(step.world_size)
    sizes = sizes or [history.world_size]
    hosts = f" on {history.start.hosts} hosts" if history.start and history.start.hosts > 1 else ""
    return ", then ".join(f"{size:,}" for size in sizes) + hosts


def _count(history: History, name: str) -> str:
    last = history.end or history.step
    return fmt.quantity(getattr(last, name)) if last and getattr(last, name) else "-"


def _metric(history: History, name: str) -> str:
    return shown(name, dict(metric_names(metrics(history))).get(name))


def _marks(history: History) -> list[tuple[str, str]]:
    marks = history.start.references if history.start else {}
    return [(metric, name) for metric, named in marks.items() for name in named]


def _reference(history: History, metric: str, name: str) -> str:
    marks = history.start.references if history.start else {}
    return fmt.loss(marks.get(metric, {}).get(name))


def _best(history: History) -> str:
    if history.best is None:
        return "-"
    return f"{fmt.loss(history.best.metrics[history.objective[0]])}\nstep {history.best.step:,}"
