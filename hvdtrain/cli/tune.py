"""`hvdtrain tune`: the engine's knobs that suit a recipe on these workers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hvdtrain.cli.horovodrun_flags import with_flags
from hvdtrain.errors import UserError
from hvdtrain.launch.flags import TRIAL_FLAGS
from hvdtrain.scaling.tuning.candidates import KNOBS

if TYPE_CHECKING:
    from hvdtrain.recipe import LoadedRecipe
    from hvdtrain.scaling.sweep.plan import Cores
    from hvdtrain.scaling.trial import Place
    from hvdtrain.scaling.tuning.candidates import Candidate
    from hvdtrain.scaling.tuning.search import Tried, Tuning

_KNOBS = ("--fusion-threshold-mb", "--cycle-time-ms")


@with_flags([flag for flag in TRIAL_FLAGS if flag.name not in _KNOBS])
def tune(
    recipe: Annotated[str, typer.Argument(help="A recipe file, or the name of a shipped recipe.")],
    workers: Annotated[
        int, typer.Option("-np", "--np", "--num-proc", metavar="N", min=2, help="The number of workers.")
    ],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Changes to the recipe, such as model.n_layers=12.", show_default=False)
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="More launches of each of the best.")] = 3,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="KNOB", help=f"Try this one alone, of {', '.join(KNOBS)}. May be repeated."),
    ] = None,
    steps: Annotated[int, typer.Option(min=2, help="Steps of a launch; more where they are short.")] = 20,
    write: Annotated[
        Path | None, typer.Option(help="Write the best into this recipe: a new one, or the recipe itself.")
    ] = None,
    synthetic: Annotated[bool, typer.Option("--synthetic", help="Random tokens instead of the recipe's data.")] = False,
    hosts: Annotated[
        str | None, typer.Option("-H", "--hosts", metavar="A:2,B:2", help="Hosts, each with its number of workers.")
    ] = None,
    hostfile: Annotated[Path | None, typer.Option(help="A file of them: a line 'NAME slots=N' each.")] = None,
    gloo: Annotated[bool, typer.Option("--gloo", help="Try Gloo only.")] = False,
    mpi: Annotated[bool, typer.Option("--mpi", help="Try MPI only.")] = False,
    host_check: Annotated[
        bool, typer.Option("--host-check/--no-host-check", help="Ask other hosts first whether they fit together.")
    ] = True,
    **flags: Any,
) -> None:
    """Find the cycle time, fusion threshold, groups, threads and controller that suit a recipe.

    Tries one change at a time in short launches, then what helped together,
    then the best of them again, interleaved with the recipe as it stands.

    Example: hvdtrain tune gpt-shakespeare -np 2 --write tuned.yaml
    """
    from hvdtrain.cli.place import count_cores, make_place
    from hvdtrain.recipe import load
    from hvdtrain.recipe.batching import plan_batch
    from hvdtrain.scaling.trial import ENDLESS, Task, check_environment
    from hvdtrain.scaling.tuning.recipe import check_target
    from hvdtrain.scaling.tuning.search import Tuning

    if unknown := [knob for knob in only or () if knob not in KNOBS]:
        raise UserError(f"--only {unknown[0]}: there is no such knob; expected one of {', '.join(KNOBS)}")
    check_environment()
    changes = list(overrides or ())
    loaded = load(recipe, changes)
    plan_batch(loaded.recipe.train, workers)
    if loaded.recipe.sync.name != "allreduce":
        raise UserError(f"sync.name = {loaded.recipe.sync.name}: there are knobs to tune for allreduce only")
    if write is not None:
        check_target(write, recipe, changes)
    place = make_place(hosts, hostfile, gloo, mpi, flags)
    cores = count_cores(place, check=host_check)
    task = Task(
        recipe, (*changes, *ENDLESS), steps=steps, floor=False, synthetic=synthetic, sweep=False, gradients=False
    )
    search = Tuning(task, workers, place, rounds)
    wanted = set(only or KNOBS)
    tried = _search(search, [one for one in _candidates(loaded, workers, place, cores) if one.knobs <= wanted])
    _show(tried, workers, recipe, changes)
    if write is not None:
        _write(write, recipe, changes, tried, workers)


def _candidates(loaded: LoadedRecipe, workers: int, place: Place, cores: Cores) -> list[Candidate]:
    from hvdtrain.launch.facts import horovod_controllers
    from hvdtrain.scaling.tuning.candidates import single_changes
    from hvdtrain.train.engine import engine_environment

    share, held = cores.most_loaded(workers, place)
    each = max(1, held // share)
    built = horovod_controllers()
    asked = loaded.recipe.train.threads_per_worker
    threads = each if asked == "auto" else asked
    if share * threads > held:
        typer.echo(f"warning: oversubscribed: {share} workers x {threads} threads on {held} cores", err=True)
    knobs = engine_environment(loaded)
    return single_changes(
        cycle_ms=float(knobs["HOROVOD_CYCLE_TIME"].value),
        fusion_mb=float(knobs["HOROVOD_FUSION_THRESHOLD"].value) / 2**20,
        groups=getattr(loaded.recipe.sync, "groups", None),
        threads=threads,
        share=each,
        controllers=() if place.controller else built,
        current=place.controller or ("mpi" if "mpi" in built else "gloo"),
    )


def _search(search: Tuning, candidates: list[Candidate]) -> list[Tried]:
    from hvdtrain.scaling.trial import Stopped

    total = 1 + len(candidates) + 1 + 4 * search.rounds
    so_far: dict[int, Tried] = {}
    count = 0

    def tell(one: Tried) -> None:
        nonlocal count
        count += 1
        so_far[id(one)] = one
        said = f"failed: {one.error.splitlines()[0]}" if one.error else f"{one.rates[-1]:,.0f} tokens/s"
        typer.echo(f"[{count} of about {total}] {one.candidate}: {said}")
        sys.stdout.flush()

    try:
        return search.run(candidates, tell)
    except Stopped as stop:
        if so_far:
            _show_table(list(so_far.values()))
        raise typer.Exit(stop.code) from stop


def _show_table(tried: list[Tried]) -> None:
    from rich.console import Console

    from hvdtrain.scaling.tuning.view import table

    console = Console(highlight=False)
    console.print()
    console.print(table(tried))
    console.print()


def _show(tried: list[Tried], workers: int, recipe: str, changes: list[str]) -> None:
    from hvdtrain.scaling.tuning.view import how_to_use, verdict

    _show_table(tried)
    typer.echo(verdict(tried))
    best = tried[0].candidate
    if best.changes or best.controller:
        typer.echo(f"to use it: {how_to_use(best, workers, recipe, changes)}")


def _write(target: Path, recipe: str, changes: list[str], tried: list[Tried], workers: int) -> None:
    from datetime import date

    from hvdtrain.report.environment import processor
    from hvdtrain.scaling.tuning.recipe import write_tuned
    from hvdtrain.scaling.tuning.view import verdict

    best = tried[0].candidate
    said = f"hvdtrain tune {recipe} -np {workers}, {date.today()}, {processor()}: {verdict(tried)}"
    write_tuned(target, recipe, changes, best, said)
    typer.echo(f"written: {target}" + (f"; launch it with --{best.controller}" if best.controller else ""))
