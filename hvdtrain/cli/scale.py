"""`hvdtrain scale`: what N workers buy, and where the rest goes."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from hvdtrain.cli.horovodrun_flags import with_flags
from hvdtrain.errors import SetupError, UserError
from hvdtrain.launch.flags import TRIAL_FLAGS

if TYPE_CHECKING:
    from hvdtrain.recipe import Recipe
    from hvdtrain.scaling.plan import Cores
    from hvdtrain.scaling.store import Store
    from hvdtrain.scaling.sweep import Sweep
    from hvdtrain.scaling.trial import Place


@with_flags(TRIAL_FLAGS)
def scale(
    recipe: Annotated[str, typer.Argument(help="A recipe file, or the name of a shipped recipe.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Changes to the recipe, such as sync.cycle_time_ms=5.", show_default=False),
    ] = None,
    np: Annotated[str, typer.Option("--np", "-np", metavar="1,2,4", help="The numbers of workers.")] = "1,2",
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
    plain: Annotated[bool, typer.Option("--plain", help="Print lines, also on a terminal.")] = False,
    **flags: Any,
) -> None:
    """Measure how a recipe scales, and say what keeps it from scaling better.

    Starts horovodrun once for each size and repeat, one after the other. Each
    launch also trains without synchronisation, so that what the workers lose
    to each other's presence is told apart from what communication costs.

    Ctrl-C interrupts it; the same command goes on.

    Example: hvdtrain scale gpt-shakespeare --np 1,2
    """
    from hvdtrain.recipe import load
    from hvdtrain.scaling.plan import plan
    from hvdtrain.scaling.sweep import Sweep
    from hvdtrain.scaling.trial import Task

    check_environment()
    loaded = load(recipe, overrides or [])
    place = make_place(hosts, hostfile, gloo, mpi, flags)
    sizes = plan(loaded.recipe, parse_numbers(np), mode, place, count_cores(place), all_cores)
    for size in sizes:
        if size.oversubscribed:
            typer.echo(f"warning: {size}: {size.oversubscribed}; measured anyway, and marked", err=True)
    task = Task(recipe, tuple(overrides or ()), warmup=warmup, steps=steps, synthetic=synthetic)
    _run(loaded.recipe, Sweep(task, sizes, repeats, place), output, fresh, plain)


def make_place(hosts: str | None, hostfile: Path | None, gloo: bool, mpi: bool, flags: Mapping[str, Any]) -> Place:
    """Return where trials run, from the options that say so.

    Raises:
        UserError: options exclude each other, or name no hosts.
    """
    from hvdtrain.launch.hosts import parse_hosts, read_hostfile
    from hvdtrain.scaling.trial import Place

    if gloo and mpi:
        raise UserError("--gloo and --mpi exclude each other")
    if hosts is not None and hostfile is not None:
        raise UserError("-H and --hostfile exclude each other")
    named = parse_hosts(hosts) if hosts is not None else read_hostfile(hostfile) if hostfile is not None else ()
    return Place(named, "gloo" if gloo else "mpi" if mpi else None, {k: v for k, v in flags.items() if v is not None})


def parse_numbers(text: str) -> list[int]:
    """Return the numbers of workers in `1,2,4`.

    Raises:
        UserError: something in it is no whole number.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise UserError(f"--np {text}: expected whole numbers with commas between them, such as 1,2,4")
    return sorted({int(part) for part in parts})


def count_cores(place: Place) -> Cores:
    """Return the cores of each host, after a look at whether they can work together.

    Raises:
        UserError: they can't; names the host and what to do.
    """
    from hvdtrain.launched import usable_cores
    from hvdtrain.scaling.plan import Cores

    if not place.hosts:
        return Cores({"": usable_cores()})
    from hvdtrain.launch.preflight import preflight

    found = preflight(place.hosts, place.controller, place.flags)
    for warning in found.warnings:
        typer.echo(f"warning: {warning}", err=True)
    return Cores({fact.name: fact.cores for fact in found.hosts})


def check_environment() -> None:
    """Make sure that nothing in the environment spoils every figure.

    Raises:
        SetupError: the timeline is on.
    """
    if os.environ.get("HOROVOD_TIMELINE"):
        raise SetupError(
            "HOROVOD_TIMELINE is set: its writer takes a core from worker 0, so no figure is taken with it; unset it"
        )


def _run(recipe: Recipe, sweep: Sweep, output: Path | None, fresh: bool, plain: bool) -> None:
    """Run what is missing of the sweep, then write and show its report; an interrupted one says how to go on."""
    from hvdtrain.recipe import dump
    from hvdtrain.report.console import can_be_live
    from hvdtrain.scaling.progress import Progress
    from hvdtrain.scaling.store import Store
    from hvdtrain.scaling.trial import Stopped

    settings = {
        "recipe": dump(recipe),
        "place": [str(host) for host in sweep.place.hosts] + [sweep.place.controller or "", dict(sweep.place.flags)],
        "task": asdict(sweep.task),
    }
    store = Store(output or Path("sweeps", recipe.name), settings, fresh=fresh)
    held = len(store.trials)
    stopped: int | None = None
    live = not plain and can_be_live(sys.stdout, os.environ)
    with Progress(sweep.sizes, sweep.repeats, store.trials, stream=sys.stdout, live=live) as progress:
        try:
            sweep.run(store, progress)
        except (Stopped, KeyboardInterrupt) as stop:
            stopped = getattr(stop, "code", 130)
    if len(store.trials) == held and stopped is None:
        typer.echo(f"all of it was measured before, in {store.directory}; --fresh measures anew")
    _report(recipe, sweep, store)
    if stopped is not None:
        typer.echo(f"interrupted; the same command goes on with what is missing ({store.directory})", err=True)
        raise typer.Exit(stopped)
    if not any(trial.error is None for trial in store.trials):
        raise typer.Exit(1)


def _report(recipe: Recipe, sweep: Sweep, store: Store) -> None:
    import shlex
    from datetime import datetime

    from rich.console import Console

    from hvdtrain.report.environment import gather_environment
    from hvdtrain.report.study import study_console, write_study
    from hvdtrain.scaling.study import make_study

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
    study = make_study(sweep.sizes, store.trials, settings)
    if not study.sizes and not study.failures:
        return
    write_study(store.directory, study)
    console = Console(highlight=False)
    console.print(study_console(study, console.width))
    typer.echo(f"written: {store.directory}/report.html, .md, .json, .png")
