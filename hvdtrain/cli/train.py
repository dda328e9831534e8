"""`hvdtrain train`: what each worker runs, and one process alone."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hvdtrain.cli.failure import give_up
from hvdtrain.launched import elastic as wanted
from hvdtrain.launched import launched_rank
from hvdtrain.metrics import activity

if TYPE_CHECKING:
    from hvdtrain.metrics.activity import Activity
    from hvdtrain.metrics.records import Record
    from hvdtrain.recipe import LoadedRecipe, Recipe
    from hvdtrain.sync._engine import Knob
    from hvdtrain.train.elastic import Commits
    from hvdtrain.train.interrupt import Interrupt
    from hvdtrain.train.run import Run
    from hvdtrain.world import World


def train(
    recipe: Annotated[str, typer.Argument(help="A recipe file, or the name of a shipped recipe.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Changes to the recipe, such as optimizer.lr=3e-4.", show_default=False)
    ] = None,
    resume: Annotated[
        str,
        typer.Option(help="auto: go on from the newest checkpoint, if any; never: begin anew; or a checkpoint's path."),
    ] = "auto",
    plain: Annotated[bool, typer.Option("--plain", help="Print lines, also on a terminal.")] = False,
) -> None:
    """Train a recipe: alone, or as one of the workers that horovodrun or mpirun started.

    Examples: hvdtrain train gpt-shakespeare train.max_steps=50; horovodrun -np 2 hvdtrain train gpt-shakespeare
    """
    from hvdtrain.recipe import load
    from hvdtrain.train.interrupt import Interrupt

    loaded = load(recipe, overrides or [])
    with Interrupt() as interrupt:
        _join_and_run(loaded, resume, plain, interrupt)


def _join_and_run(loaded: LoadedRecipe, resume: str, plain: bool, interrupt: Interrupt) -> None:
    from hvdtrain.errors import UserError
    from hvdtrain.recipe.batching import check_elastic
    from hvdtrain.train import elastic
    from hvdtrain.train.engine import join

    if wanted():
        check_elastic(loaded.recipe)
    joined = join(loaded)
    with _Session(loaded.recipe, joined.knobs, resume, plain, interrupt) as session:
        if wanted():
            elastic.run(joined, session)
            return
        try:
            session(joined.world)
        except UserError as error:
            if error.shared:
                joined.world.close()  # Left by all in good order, the engine has nothing to complain about.
            raise
    joined.world.close()


class _Session:
    """Runs a recipe on this worker, and again where an elastic job begins anew with other workers."""

    def __init__(
        self, recipe: Recipe, knobs: Mapping[str, Knob], resume: str, plain: bool, interrupt: Interrupt
    ) -> None:
        self._recipe, self._knobs, self._resume, self._plain, self._interrupt = recipe, knobs, resume, plain, interrupt
        self._publish: Callable[[Record], None] | None = None
        self._run: Run | None = None
        self._closing = ExitStack()

    def __enter__(self) -> _Session:
        return self

    def __exit__(self, *exception: Any) -> None:
        self._closing.close()

    def __call__(self, world: World, commits: Commits | None = None) -> None:
        from hvdtrain.train import elastic
        from hvdtrain.train.assemble import assemble
        from hvdtrain.train.output import check_output, claim_output
        from hvdtrain.train.run import Run
        from hvdtrain.train.samples import make_samples
        from hvdtrain.train.saving import make_checkpoints

        recipe, resume = self._recipe, self._resume
        check_output(world, recipe.output_dir)
        assembly = assemble(recipe, world, self._interrupt)
        moved = claim_output(world, recipe.output_dir, afresh=resume == "never")
        knobs = {name: str(knob) for name, knob in self._knobs.items() if name.startswith("HOROVOD_")}
        engine = knobs if world.size > 1 else {}
        run = Run(assembly, world, make_checkpoints(assembly, world), make_samples(assembly, world), engine, commits)
        run.begin(resume)
        if resume == "never":
            self._resume = "auto"  # what is there from here on is this run's own
        if run.over:
            if world.rank == 0:
                typer.echo(
                    f"{recipe.name} is finished: {run.progress}; raise its length, or begin anew with --resume never"
                )
            return
        self._watch(run)
        for record in elastic.records(run, commits):
            if world.rank == 0:
                self._tell(record, moved)
        activity.begin("the report")

    def _watch(self, run: Run) -> None:
        """Watch this worker from its first run on, while it joins others anew too."""
        from hvdtrain.train.watchdog import Watchdog

        first, self._run = self._run is None, run
        if first:
            limit = self._recipe.train.hang_timeout
            step = lambda: self._run.step  # noqa: E731
            waits = not wanted()
            self._closing.enter_context(Watchdog(limit, step=step, beat=_beat, give_up=give_up, waits_count=waits))

    def _tell(self, record: Record, moved: str | None) -> None:
        """Publish a record; the first one finds out where to."""
        from hvdtrain.report import subscribe

        if self._publish is None:
            self._publish = self._closing.enter_context(subscribe(self._recipe, plain=self._plain, moved=moved))
        try:
            self._publish(record)
        except BrokenPipeError:
            # Whoever read the output has gone, as `head` does: that is a request to stop like any other.
            sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115
            self._interrupt.requested = True


def _beat(step: int, doing: Activity, seconds: float) -> None:
    from hvdtrain.report import events

    if events.wanted():
        events.write_beat(launched_rank(), step, doing, seconds)
