"""`hvdtrain report`: what runs and sweeps left, rendered again, and runs side by side."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from hvdtrain.report.sources import RunSource, StudySource

_SIDE_BY_SIDE = Path("report")


def report(
    paths: Annotated[
        list[Path], typer.Argument(help="Directories of runs or sweeps, or reports in them.", show_default=False)
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Where report.{json,md,html,png} go. Left out: beside what they report, of several runs to ./report.",
            show_default=False,
        ),
    ] = None,
    no_files: Annotated[bool, typer.Option("--no-files", help="Show only; write nothing.")] = False,
) -> None:
    """Show what a run or a sweep left and write its report anew; show several runs side by side.

    Examples: hvdtrain report runs/gpt-shakespeare; hvdtrain report runs/a runs/b --output comparison
    """
    from hvdtrain.errors import UserError
    from hvdtrain.report.sources import RunSource, find

    if no_files and output is not None:
        raise UserError("--output and --no-files exclude each other")
    found = [find(path) for path in paths]
    runs = [one for one in found if isinstance(one, RunSource)]
    sweeps = [one for one in found if not isinstance(one, RunSource)]
    if runs and sweeps:
        raise UserError(
            f"{runs[0].directory} is a run and {sweeps[0].directory} a sweep: only runs are shown side by side; "
            "report on a sweep with a command of its own"
        )
    if len(sweeps) > 1 and output is not None:
        raise UserError("--output takes the report of one sweep; leave it out, or report on one at a time")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # A name that the terminal can't show is no reason to show nothing.
    _show(runs, sweeps, output, not no_files)


def _show(runs: Sequence[RunSource], sweeps: Sequence[StudySource], output: Path | None, files: bool) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    for sweep in sweeps:
        _show_sweep(console, sweep, output or sweep.directory, files)
    if len(runs) == 1:
        _show_run(console, runs[0], output or runs[0].directory, files)
    elif runs:
        _show_several(console, runs, output or _SIDE_BY_SIDE, files)


def _show_run(console: Console, run: RunSource, directory: Path, files: bool) -> None:
    from hvdtrain.errors import UserError
    from hvdtrain.report.run_report import write_reports
    from hvdtrain.report.summary import plain_summary, rich_summary

    if console.is_terminal:
        console.print(rich_summary(run.history))
    else:
        typer.echo(plain_summary(run.history))
    if not files:
        return
    try:
        directory.mkdir(parents=True, exist_ok=True)
        notes = write_reports(directory, run.history)
    except OSError as error:
        message = f"can't write the report in {directory}: {error.strerror}; choose another --output, or --no-files"
        raise UserError(message) from error
    _tell(directory, notes)


def _show_sweep(console: Console, sweep: StudySource, directory: Path, files: bool) -> None:
    from hvdtrain.report.study import study_console, write_study

    console.print(study_console(sweep.study, console.width))
    if files:
        _tell(directory, write_study(directory, sweep.study))


def _show_several(console: Console, runs: Sequence[RunSource], directory: Path, files: bool) -> None:
    from hvdtrain.report.comparison import comparison_console, write_comparison

    console.print(comparison_console(runs, console.width))
    if files:
        _tell(directory, write_comparison(directory, runs))


def _tell(directory: Path, notes: Sequence[str]) -> None:
    for note in notes:
        typer.echo(f"warning: {note}", err=True)
    drawn = "json,md,html" if notes else "json,md,html,png"
    typer.echo(f"\nwritten: {directory}/report.{{{drawn}}}")
