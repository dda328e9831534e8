"""`hvdtrain train`: what each worker runs, and one process alone."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from hvdtrain.recipe import LoadedRecipe, Recipe
    from hvdtrain.train.interrupt import Interrupt
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
    from hvdtrain.train.engine import join

    world, engine = join(loaded)
    try:
        knobs = {name: str(knob) for name, knob in engine.items() if name.startswith("HOROVOD_") and world.size > 1}
        _run(loaded.recipe, world, knobs, resume, plain, interrupt)
    except UserError as error:
        if error.shared:
            world.close()  # Left by all in good order, the engine has nothing to complain about.
        raise
    world.close()


def _run(
    recipe: Recipe, world: World, engine: Mapping[str, str], resume: str, plain: bool, interrupt: Interrupt
) -> None:
    from hvdtrain.report import subscribe
    from hvdtrain.train.assemble import assemble
    from hvdtrain.train.output import check_output, claim_output
    from hvdtrain.train.run import Run, make_checkpoints, make_samples

    check_output(world, recipe.output_dir)
    assembly = assemble(recipe, world, interrupt)
    moved = claim_output(world, recipe.output_dir, afresh=resume == "never")
    run = Run(assembly, world, make_checkpoints(assembly, world), make_samples(assembly, world), engine)
    run.begin(resume)
    if run.finished:
        if world.rank == 0:
            typer.echo(
                f"{recipe.name} is finished: {run.progress}; raise its length, or begin anew with --resume never"
            )
        return
    with subscribe(recipe, reports=world.rank == 0, plain=plain, moved=moved) as publish:
        for record in run.records():
            try:
                publish(record)
            except BrokenPipeError:
                # Whoever read the output has gone, as `head` does: that is a request to stop like any other.
                sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115
                interrupt.requested = True
