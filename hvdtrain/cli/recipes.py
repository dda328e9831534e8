"""`hvdtrain recipes`: the recipes that come with the package, and the schema of them all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from hvdtrain.errors import UserError

app = typer.Typer(help="List, show and copy the recipes that come with hvdtrain.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="A recipe's name as `hvdtrain recipes list` has it, or a file.")]


@app.command("list")
def list_recipes() -> None:
    """List the recipes that come with hvdtrain."""
    from hvdtrain.recipe import load, shipped

    width = max((len(name) for name in shipped()), default=0)
    for name, path in shipped().items():
        typer.echo(f"{name:<{width}}  {load(path).recipe.description or ''}".rstrip())


@app.command()
def show(
    name: Name,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Changes, such as optimizer.lr=3e-4; with --resolved.", show_default=False),
    ] = None,
    resolved: Annotated[
        bool, typer.Option("--resolved", help="With what it extends, the overrides, and every default.")
    ] = False,
) -> None:
    """Print a recipe: the file as it is, or all that it resolves to."""
    from hvdtrain.errors import RecipeError
    from hvdtrain.recipe import dump, load, locate

    if overrides and not resolved:
        raise RecipeError("overrides change what a recipe resolves to: add --resolved to see it")
    loaded = load(name, overrides or []) if resolved else None
    text = dump(loaded.recipe) if loaded else locate(name).read_text(encoding="utf-8")
    typer.echo(text.rstrip("\n"))


@app.command()
def copy(
    name: Name,
    to: Annotated[
        Path | None,
        typer.Argument(help="A file or a directory; the working directory if left out.", show_default=False),
    ] = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace a file that is there.")] = False,
) -> None:
    """Copy a recipe to a file of your own, to change it."""
    from hvdtrain.recipe import locate

    source = locate(name)
    target = to or Path(source.name)
    if target.is_dir():
        target = target / source.name
    try:
        if force and target.exists() and target.samefile(source):
            return
        with target.open("wb" if force else "xb") as file:
            file.write(source.read_bytes())
    except OSError as error:
        raise _not_copied(target, error) from None
    typer.echo(f"{target}: copied; check it with 'hvdtrain validate {target}'")


@app.command()
def schema() -> None:
    """Print the JSON schema of recipe files, for editors to complete and check them by."""
    import json

    from hvdtrain.recipe import schema as recipe_schema

    typer.echo(json.dumps(recipe_schema(), indent=2, ensure_ascii=False))


def _not_copied(target: Path, error: OSError) -> UserError:
    from hvdtrain.errors import RecipeError

    if isinstance(error, FileExistsError):
        return RecipeError(f"{target} is there already; name another file, or replace it with --force")
    if isinstance(error, FileNotFoundError):
        return RecipeError(f"cannot copy to {target}: there is no directory {target.parent}")
    return RecipeError(f"cannot copy to {target}: {error.strerror}")
