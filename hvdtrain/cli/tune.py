"""`hvdtrain tune`: the engine's knobs that suit a recipe on these workers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hvdtrain.cli.horovodrun_flags import with_flags
from hvdtrain.errors import UserError
from hvdtrain.launch.flags import TRIAL_FLAGS

if TYPE_CHECKING:
    from hvdtrain.recipe import LoadedRecipe
    from hvdtrain.scaling.candidates import Candidate
    from hvdtrain.scaling.plan import Cores
    from hvdtrain.scaling.trial import Place
    from hvdtrain.scaling.tune import Tried, Tuning

_KNOBS = ("--fusion-threshold-mb", "--cycle-time-ms")


@with_flags([flag for flag in TRIAL_FLAGS if flag.name not in _KNOBS])
def tune(
    recipe: Annotated[str, typer.Argument(help="A recipe file, or the name of a shipped recipe.")],
    workers: Annotated[int, typer.Option("-np", "--num-proc", metavar="N", min=2, help="The number of workers.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Changes to the recipe, such as model.n_layers=12.", show_default=False)
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="More launches of each of the best.")] = 3,
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
    **flags: Any,
) -> None:
    """Find the cycle time, fusion threshold, groups, threads and controller that suit a recipe.

    Tries one change at a time in short launches, then what helped together,
    then the best of them again, interleaved with the recipe as it stands.

    Example: hvdtrain tune gpt-shakespeare -np 2 --write tuned.yaml
    """
    from hvdtrain.cli.scale import check_environment, count_cores, make_place
    from hvdtrain.recipe import load
    from hvdtrain.recipe.batching import plan_batch
    from hvdtrain.scaling.trial import Task
    from hvdtrain.scaling.tune import Tuning
    from hvdtrain.scaling.tuned_recipe import check_target

    check_environment()
    changes = list(overrides or ())
    loaded = load(recipe, changes)
    plan_batch(loaded.recipe.train, workers)
    if loaded.recipe.sync.name != "allreduce":
        raise UserError(f"sync.name = {loaded.recipe.sync.name}: there are knobs to tune for allreduce only")
    if write is not None:
        check_target(write, recipe)
    place = make_place(hosts, hostfile, gloo, mpi, flags)
    cores = count_cores(place)
    task = Task(
        recipe, (*changes, *_LENGTH), steps=steps, floor=False, synthetic=synthetic, sweep=False, gradients=False
    )
    search = Tuning(task, workers, place, rounds)
    tried = _search(search, _candidates(loaded, workers, place, cores))
    _show(tried)
    if write is not None:
        _write(write, recipe, changes, tried, workers)


_LENGTH = ("train.epochs=null", "train.max_tokens=null", "train.max_steps=1000000")


def _candidates(loaded: LoadedRecipe, workers: int, place: Place, cores: Cores) -> list[Candidate]:
    from hvdtrain.launch.facts import horovod_controllers
    from hvdtrain.scaling.candidates import single_changes
    from hvdtrain.sync._engine import defaults

    share, held = cores.most_loaded(workers, place)
    each = max(1, held // share)
    built = horovod_controllers()
    asked = loaded.recipe.train.threads_per_worker
    sync: Any = loaded.recipe.sync
    auto = defaults(on_gpu=False)
    return single_changes(
        cycle_ms=auto.cycle_time_ms if sync.cycle_time_ms == "auto" else sync.cycle_time_ms,
        fusion_mb=auto.fusion_threshold_mb if sync.fusion_threshold_mb == "auto" else sync.fusion_threshold_mb,
        groups=sync.groups,
        threads=each if asked == "auto" else asked,
        share=each,
        controllers=() if place.controller else built,
        current=place.controller or ("mpi" if "mpi" in built else "gloo"),
    )


def _search(search: Tuning, candidates: list[Candidate]) -> list[Tried]:
    total = 1 + len(candidates) + 1 + 4 * search.rounds
    count = 0

    def tell(one: Tried) -> None:
        nonlocal count
        count += 1
        said = f"failed: {one.error.splitlines()[0]}" if one.error else f"{one.rates[-1]:,.0f} tokens/s"
        typer.echo(f"[{count} of about {total}] {one.candidate}: {said}")
        sys.stdout.flush()

    from hvdtrain.scaling.trial import Stopped

    try:
        return search.run(candidates, tell)
    except Stopped as stop:
        raise typer.Exit(stop.code) from stop


def _show(tried: list[Tried]) -> None:
    from rich.console import Console

    from hvdtrain.scaling.tune_view import how_to_use, table, verdict

    console = Console(highlight=False)
    console.print()
    console.print(table(tried))
    console.print()
    console.print(verdict(tried))
    if tried[0].candidate.overrides or tried[0].candidate.controller:
        console.print(f"to use it: {how_to_use(tried[0].candidate)}", soft_wrap=True)


def _write(target: Path, recipe: str, changes: list[str], tried: list[Tried], workers: int) -> None:
    from datetime import date

    from hvdtrain.report.environment import processor
    from hvdtrain.scaling.tune_view import verdict
    from hvdtrain.scaling.tuned_recipe import write_tuned

    best = tried[0].candidate
    said = f"hvdtrain tune {recipe} -np {workers}, {date.today()}, {processor()}: {verdict(tried)}"
    write_tuned(target, recipe, changes, best, said)
    typer.echo(f"written: {target}" + (f"; launch it with --{best.controller}" if best.controller else ""))
