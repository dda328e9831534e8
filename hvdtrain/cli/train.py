"""`hvdtrain train`: what each worker runs, and one process alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from hvdtrain.recipe import LoadedRecipe


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

    _run(load(recipe, overrides or []), resume, plain)


def _run(loaded: LoadedRecipe, resume: str, plain: bool) -> None:
    from hvdtrain import world as worlds
    from hvdtrain.report import subscribe
    from hvdtrain.train.assemble import assemble
    from hvdtrain.train.engine import engine_environment
    from hvdtrain.train.interrupt import Interrupt
    from hvdtrain.train.resume import claim_output
    from hvdtrain.train.run import Run, make_checkpoints

    engine = engine_environment(loaded)
    world = worlds.start({variable: knob.value for variable, knob in engine.items()})
    with Interrupt() as interrupt:
        moved = claim_output(world, loaded.recipe.output_dir, resume)
        assembly = assemble(loaded.recipe, world, interrupt)
        knobs = {name: str(knob) for name, knob in engine.items()} if world.size > 1 else {}
        run = Run(assembly, world, make_checkpoints(assembly, world), knobs)
        with subscribe(loaded.recipe, reports=world.rank == 0, plain=plain, moved=moved) as publish:
            for record in run.records(resume):
                publish(record)
    world.close()
