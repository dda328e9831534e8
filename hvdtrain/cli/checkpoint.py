"""`hvdtrain checkpoint`: what a run has saved, whether it is whole, and what differs between two."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from hvdtrain.train.checkpoint_diff import Differences, TensorDifference

app = typer.Typer(no_args_is_help=True, help="Checkpoints: what there is, whether it is whole, what differs.")

_SHOWN = 8
"""Differences of a kind that are named; the others are counted."""


@app.command("list")
def list_(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory, or one of checkpoints.")],
) -> None:
    """List a run's checkpoints, the newest first, each verified against the hashes in its manifest.

    Example: hvdtrain checkpoint list runs/gpt-shakespeare
    """
    from hvdtrain.errors import CheckpointError
    from hvdtrain.report import format as fmt
    from hvdtrain.train import checkpoint

    folder = next((one for one in (run / "checkpoints", run) if checkpoint.found(one)), None)
    if folder is None:
        raise CheckpointError(f"{run} holds no checkpoint; expected a run directory such as runs/NAME")
    best = checkpoint.best(folder)
    for _, path in checkpoint.found(folder):
        problem = _problem(path)
        size = sum(file.stat().st_size for file in path.iterdir() if file.is_file())
        mark = "  best" if path == best else ""
        typer.echo(f"{path.name:<12}  {fmt.size(size):>9}  {'damaged' if problem else 'whole'}{mark}")
        if problem:
            typer.echo(f"  {problem}")


@app.command()
def verify(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Checkpoints, or run directories.")],
) -> None:
    """Check every file of checkpoints against their manifests; of a run directory all that it has. Exit code 1 where
    one is not whole.

    Example: hvdtrain checkpoint verify runs/gpt-shakespeare
    """
    from hvdtrain.errors import CheckpointError
    from hvdtrain.train import checkpoint

    failed = False
    for path in paths:
        folders = [one for one in (path / "checkpoints", path) if checkpoint.found(one)]
        each = [found for _, found in checkpoint.found(folders[0])] if folders else [path]
        if not path.exists():
            raise CheckpointError(f"{path} does not exist; expected a checkpoint or a run directory")
        for one in each:
            problem = _problem(one)
            failed |= bool(problem)
            typer.echo(problem or f"checkpoint {one}: whole")
    if failed:
        raise typer.Exit(1)


@app.command()
def diff(
    first: Annotated[Path, typer.Argument(help="A checkpoint, or a run directory: its newest whole one.")],
    second: Annotated[Path, typer.Argument(help="Another one.")],
) -> None:
    """Show what differs between two checkpoints, to the last bit: weights, optimizer state, and where training stands.
    Exit code 1 where something does.

    Example: hvdtrain checkpoint diff runs/whole runs/resumed
    """
    from hvdtrain.report import format as fmt
    from hvdtrain.train import checkpoint
    from hvdtrain.train.checkpoint_diff import diff as compare

    paths = [checkpoint.locate(path) for path in (first, second)]
    for line in _told(compare(*paths), paths):
        typer.echo(fmt.clean(line))


def _problem(path: Path) -> str:
    from hvdtrain.errors import CheckpointError
    from hvdtrain.report import format as fmt
    from hvdtrain.train import checkpoint

    try:
        checkpoint.verify(path)
    except CheckpointError as error:
        return fmt.clean(str(error))  # names in a manifest may be a stranger's
    return ""


def _told(found: Differences, paths: list[Path]) -> Iterator[str]:
    yield f"first   {paths[0]}"
    yield f"second  {paths[1]}"
    if not found:
        yield f"bit for bit the same: {found.compared} tensors and the state"
        return
    for what, tensors in (("weights", found.model), ("optimizer state", found.optimizer)):
        yield f"{what}: {len(tensors)} tensors differ" if tensors else f"{what}: the same"
        yield from _named([_line(one) for one in tensors])
    yield f"state: {len(found.state)} values differ" if found.state else "state: the same"
    yield from _named([f"{key}: {one!r} and {other!r}" for key, one, other in found.state])
    raise typer.Exit(1)


def _named(lines: list[str]) -> Iterator[str]:
    yield from (f"  {line}" for line in lines[:_SHOWN])
    if len(lines) > _SHOWN:
        yield f"  and {len(lines) - _SHOWN} more"


def _line(one: TensorDifference) -> str:
    unlike, elements = one.elements
    return f"{one.name}: {one.what or f'{unlike:,} of {elements:,} elements, by {one.largest:.3g} at most'}"
