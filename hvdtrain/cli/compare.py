"""`hvdtrain compare`: a recipe with several strategies of synchronisation, side by side."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hvdtrain.cli.horovodrun_flags import with_flags
from hvdtrain.errors import RunError, UserError
from hvdtrain.launch.flags import TRIAL_FLAGS

if TYPE_CHECKING:
    from hvdtrain.metrics.strategies import StrategyRecord
    from hvdtrain.scaling.compare.run import Compare, Runs
    from hvdtrain.scaling.trial import Place


@with_flags(TRIAL_FLAGS)
def compare(
    recipe: Annotated[str, typer.Argument(help="A recipe file, or the name of a shipped recipe.")],
    workers: Annotated[
        int, typer.Option("-np", "--np", "--num-proc", metavar="N", min=2, help="The number of workers.")
    ],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Changes to the recipe, such as model.n_layers=12.", show_default=False)
    ] = None,
    sync: Annotated[
        list[str] | None,
        typer.Option(
            "--sync",
            metavar="A,B:KEY=VALUE",
            help="Strategies with commas between them, options of each after colons; may be given again.",
            show_default="all there are",
        ),
    ] = None,
    steps: Annotated[int, typer.Option(min=2, help="Updates of each run.")] = 60,
    rounds: Annotated[int, typer.Option(min=1, help="Runs of each strategy, in alternating order.")] = 3,
    warmup: Annotated[int, typer.Option(min=0, help="First updates of a run that are not timed.")] = 5,
    hosts: Annotated[
        str | None, typer.Option("-H", "--hosts", metavar="A:2,B:2", help="Hosts, each with its number of workers.")
    ] = None,
    hostfile: Annotated[Path | None, typer.Option(help="A file of them: a line 'NAME slots=N' each.")] = None,
    gloo: Annotated[bool, typer.Option("--gloo", help="Coordinate the workers over TCP.")] = False,
    mpi: Annotated[bool, typer.Option("--mpi", help="Coordinate them by MPI.")] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write comparison.json, .md and .html there.", show_default=False),
    ] = None,
    host_check: Annotated[
        bool, typer.Option("--host-check/--no-host-check", help="Ask other hosts first whether they fit together.")
    ] = True,
    **flags: Any,
) -> None:
    """Train a recipe with several synchronisation strategies for equally many updates, and compare them.

    Reports loss, bytes and time of a step, sync tax, and memory. 'none' (workers
    that do not synchronise) is always measured too: it is what the tax is held
    against. All runs begin alike, and the strategies take turns.

    The updates are the first of the recipe's own: its schedule is that of the
    whole run, unless train.max_steps is given too. A strategy that can't run
    here is listed with the reason. Ctrl-C ends it and shows what there is.

    Examples: hvdtrain compare gpt-shakespeare -np 2 --sync allreduce,sharded;
    hvdtrain compare my.yaml -np 2 --sync allreduce,allreduce:compression=fp16
    """
    from hvdtrain.cli.place import count_cores, make_place
    from hvdtrain.report.strategies import check_writable
    from hvdtrain.scaling.compare.plan import load_all, parse_choices, problems
    from hvdtrain.scaling.compare.run import Compare, StrategyTask
    from hvdtrain.scaling.trial import check_environment

    if warmup >= steps:
        raise UserError(f"--warmup {warmup}: leaves none of --steps {steps} to be timed; use fewer")
    check_environment()
    choices = parse_choices(sync or ())
    loaded = load_all(recipe, overrides or (), choices, workers)
    place = make_place(hosts, hostfile, gloo, mpi, flags)
    if output is not None:
        check_writable(output)
    count_cores(place, check=host_check)
    refused = problems(loaded, workers, _controller(place))
    if len(refused) == len(choices):
        raise UserError("\n".join(f"{name} can't run here: {why}" for name, why in refused.items()))
    task = StrategyTask(recipe, tuple(overrides or ()), steps, warmup)
    asked = Compare(task, choices, workers, place, rounds)
    _report(loaded["none"].recipe.name, asked, _run(asked, refused), output)


def _controller(place: Place) -> str:
    from hvdtrain.launch.facts import horovod_controllers

    return place.controller or ("mpi" if "mpi" in horovod_controllers() else "gloo")


def _run(asked: Compare, refused: dict[str, str]) -> Runs:
    from hvdtrain.report import format as fmt
    from hvdtrain.scaling.compare.table import step_seconds

    for name, why in refused.items():
        typer.echo(f"{name} can't run here: {why}")
    total, count = asked.rounds * (1 + len(asked.choices) - len(refused)), 0
    typer.echo(f"{fmt.plural(total, 'run')} of {fmt.plural(asked.task.steps, 'update')}, one after the other")
    sys.stdout.flush()

    def tell(number: int, name: str, found: Sequence[StrategyRecord] | str) -> None:
        nonlocal count, total
        count += 1
        if isinstance(found, str):
            total -= asked.rounds - number - 1
            said = f"left out: {found.splitlines()[0]}"
        else:
            said = f"{fmt.seconds(step_seconds(found))} an update"
        typer.echo(f"[{count}/{total}] round {number + 1}, {name}: {said}")
        sys.stdout.flush()

    return asked.run(refused, tell)


def _report(name: str, asked: Compare, runs: Runs, output: Path | None) -> None:
    """Show and write what there is; then end with the exit code that fits it."""
    import shlex
    from datetime import datetime

    from rich.console import Console

    from hvdtrain.report.environment import gather_environment
    from hvdtrain.report.strategies import strategies_console, write_strategies
    from hvdtrain.scaling.compare.table import make_comparison

    settings = {
        "name": name,
        "recipe": asked.task.recipe,
        "created": datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": shlex.join(["hvdtrain", *sys.argv[1:]]),
        "workers": asked.workers,
        "rounds": asked.rounds,
        "steps": asked.task.steps,
        "warmup": asked.task.warmup,
        "environment": gather_environment(),
    }
    comparison = make_comparison(runs, settings)
    if comparison.results:
        console = Console(highlight=False)
        console.print()
        console.print(strategies_console(comparison, console.width))
        if output is not None:
            write_strategies(output, comparison)
            typer.echo(f"written: {output}/comparison.html, .md, .json")
    if runs.stopped is not None:
        typer.echo("interrupted; what is shown is of the runs before", err=True)
        raise typer.Exit(runs.stopped)
    if runs.failed:
        raise typer.Exit(1)
    if all(one.floor for one in comparison.results):
        raise RunError("none of the strategies can run here; the reasons stand above")
