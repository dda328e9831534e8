"""`hvdtrain validate`: says what is wrong with a recipe, or what it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from hvdtrain.recipe import Recipe


def validate(
    recipe: Annotated[str, typer.Argument(help="A recipe file, or the name of a shipped recipe.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Changes to the recipe, such as optimizer.lr=3e-4.", show_default=False)
    ] = None,
) -> None:
    """Check a recipe without running it; every problem is listed, with its line.

    Examples: hvdtrain validate my.yaml; hvdtrain validate gpt-shakespeare model.n_heads=8
    """
    from hvdtrain.recipe import load

    loaded = load(recipe, overrides or [])
    typer.echo(f"{recipe}: valid\n{describe(loaded.recipe)}")


def describe(recipe: Recipe) -> str:
    """Return a few lines on what a recipe trains, and how."""
    train = recipe.train
    length = (
        f"{train.max_steps:,} updates"
        if train.max_steps
        else f"{train.epochs:,} epochs"
        if train.epochs
        else f"{train.max_tokens:,} tokens"
    )
    batch = train.global_batch_size or f"{train.micro_batch_size} x workers"
    tokenizer = f", tokenizer {recipe.tokenizer.name}" if recipe.tokenizer else ""
    return "\n".join(
        [
            f"  trains   {recipe.model.name} on {recipe.data.name} ({recipe.task.name}{tokenizer})",
            f"  with     {recipe.optimizer.name}, lr {recipe.optimizer.lr:g}, {recipe.lr_scheduler.name}, "
            f"sync {recipe.sync.name}",
            f"  for      {length} of {batch} samples, seed {recipe.seed}",
            f"  into     {recipe.output_dir}",
        ]
    )
