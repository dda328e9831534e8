"""`hvdtrain scale`: what N workers buy, and where the rest goes."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from hvdtrain.cli.horovodrun_flags import with_flags
from hvdtrain.errors import UserError
from hvdtrain.launch.flags import TRIAL_FLAGS

if TYPE_CHECKING:
    from hvdtrain.recipe import Recipe
    from hvdtrain.scaling.sweep.store import Trial
    from hvdtrain.scaling.sweep.sweep import Sweep


@with_flags(TRIAL_FLAGS)
def scale(
    recipe: Annotated[str, typer.Argument(help="A recipe file, or the name of a shipped recipe.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Changes to the recipe, such as sync.cycle_time_ms=5.", show_default=False),
    ] = None,
    np: Annotated[
        str, typer.Option("--np", "-np", metavar="1,2,4", help="The numbers of workers; one is always measured too.")
    ] = "1,2",
    mode: Annotated[
        Literal["weak", "strong", "both"],
        typer.Option(help="weak: each worker does the same however many there are; strong: they share one batch."),
    ] = "weak",
    repeats: Annotated[int, typer.Option(min=1, help="Launches of each size; five give a confidence interval.")] = 5,
    steps: Annotated[int, typer.Option(min=2, help="Steps of each block; more where they are short.")] = 20,
    warmup: Annotated[int, typer.Option(min=1, help="Steps before each block that do not count.")] = 3,
    synthetic: Annotated[bool, typer.Option("--synthetic", help="Random tokens instead of the recipe's data.")] = False,
    all_cores: Annotated[
        bool, typer.Option("--all-cores/--no-all-cores", help="Also measure one worker with all cores of its host.")
    ] = True,
    hosts: Annotated[
        str | None, typer.Option("-H", "--hosts", metavar="A:2,B:2", help="Hosts, each with its number of workers.")
    ] = None,
    hostfile: Annotated[Path | None, typer.Option(help="A file of them: a line 'NAME slots=N' each.")] = None,
    gloo: Annotated[bool, typer.Option("--gloo", help="Coordinate the workers over TCP.")] = False,
    mpi: Annotated[bool, typer.Option("--mpi", help="Coordinate them by MPI.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where the sweep is kept.", show_default="sweeps/NAME")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Set the sweep that is there aside and begin anew.")] = False,
    host_check: Annotated[
        bool, typer.Option("--host-check/--no-host-check", help="Ask other hosts first whether they fit together.")
    ] = True,
    plain: Annotated[bool, typer.Option("--plain", help="Print lines, also on a terminal.")] = False,
    **flags: Any,
) -> None:
    """Measure how a recipe scales, and say what keeps it from scaling better.

    Starts horovodrun once for each size and repeat, one after the other. Each
    launch also trains without synchronisation, so that what the workers lose
    to each other's presence is told apart from what communication costs.

    Ctrl-C interrupts it; the same command goes on. A launch takes about half a
    minute where a step takes a third of a second.

    Example: hvdtrain scale gpt-shakespeare --np 1,2
    """
    from hvdtrain.cli.place import count_cores, make_place, parse_numbers
    from hvdtrain.recipe import load
    from hvdtrain.scaling.sweep.plan import plan
    from hvdtrain.scaling.sweep.sweep import Sweep
    from hvdtrain.scaling.trial import Task, check_environment
    from hvdtrain.sync._config import training_workers

    check_environment()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # A mark that the terminal can't show is no reason to stop.
    loaded = load(recipe, overrides or [])
    if loaded.recipe.sync.name == "none":
        raise UserError("sync.name = none: there is no synchronisation to measure; name another, such as allreduce")
    numbers = parse_numbers(np)
    if any(training_workers(loaded.recipe.sync, number) < number for number in numbers):
        raise UserError(
            "sync.placement = dedicated: a sweep compares with workers that all train, without synchronisation; set "
            "sync.placement=colocated"
        )
    place = make_place(hosts, hostfile, gloo, mpi, flags)
    sizes = plan(loaded.recipe, numbers, mode, place, count_cores(place, check=host_check), all_cores)
    for size in sizes:
        if size.oversubscribed:
            typer.echo(f"warning: {size}: {size.oversubscribed}; measured anyway, and marked", err=True)
    task = Task(recipe, tuple(overrides or ()), warmup=warmup, steps=steps, synthetic=synthetic)
    _run(loaded.recipe, Sweep(task, sizes, repeats, place), output, fresh, plain)


def _run(recipe: Recipe, sweep: Sweep, output: Path | None, fresh: bool, plain: bool) -> None:
    """Run what is missing of the sweep, then write and show its report; an interrupted one says how to go on."""
    from hvdtrain.report.console import can_be_live
    from hvdtrain.scaling.sweep.progress import Progress
    from hvdtrain.scaling.sweep.store import Store
    from hvdtrain.scaling.trial import Stopped

    store = Store(output or Path("sweeps", recipe.name), _settings(recipe, sweep), fresh=fresh)
    made, stopped = 0, None
    live = not plain and can_be_live(sys.stdout, os.environ)
    own = sweep.own(store.trials)
    with Progress(sweep.sizes, sweep.repeats, own, stream=sys.stdout, live=live) as progress:
        try:
            made = sweep.run(store, progress)
        except (Stopped, KeyboardInterrupt) as stop:
            stopped = getattr(stop, "code", 130)
    trials = sweep.own(store.trials)
    if not made and stopped is None:
        typer.echo(f"all of it was measured before, in {store.directory}; --fresh measures anew")
    _report(recipe, sweep, store.directory, trials)
    if stopped is not None:
        typer.echo(f"interrupted; the same command goes on with what is missing ({store.directory})", err=True)
        raise typer.Exit(stopped)
    if any(trial.error is not None for trial in trials):
        raise typer.Exit(1)


def _settings(recipe: Recipe, sweep: Sweep) -> dict[str, Any]:
    """Return what the figures of a sweep depend on, beside its sizes."""
    from hvdtrain.launched import usable_cores
    from hvdtrain.recipe import dump
    from hvdtrain.report.environment import gather_environment

    here = gather_environment()
    engine = {name: value for name, value in here["variables"].items() if name.startswith("HOROVOD_")}
    return {
        "recipe": dump(recipe),
        "hosts": ",".join(map(str, sweep.place.hosts)),
        "controller": sweep.place.controller,
        "flags": dict(sweep.place.flags),
        "steps": sweep.task.steps,
        "warmup": sweep.task.warmup,
        "synthetic": sweep.task.synthetic,
        "cores": usable_cores(),
        "processor": here["processor"],
        "packages": here["packages"],
        "variables": engine,
    }


def _report(recipe: Recipe, sweep: Sweep, directory: Path, trials: Sequence[Trial]) -> None:
    import shlex
    from datetime import datetime

    from rich.console import Console

    from hvdtrain.report.environment import gather_environment
    from hvdtrain.report.study import study_console, write_study
    from hvdtrain.scaling.sweep.study import make_study

    settings = {
        "name": recipe.name,
        "recipe": sweep.task.recipe,
        "created": datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": shlex.join(["hvdtrain", *sys.argv[1:]]),
        "repeats": sweep.repeats,
        "steps": sweep.task.steps,
        "synthetic": sweep.task.synthetic,
        "environment": gather_environment(),
    }
    study = make_study(sweep.sizes, trials, settings)
    if not study.sizes and not study.failures:
        return
    notes = write_study(directory, study)
    console = Console(highlight=False)
    console.print(study_console(study, console.width))
    for note in notes:
        typer.echo(f"note: {note}")
    typer.echo(f"written: {directory}/report.html, .md, .json, .png")
