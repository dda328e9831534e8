"""`hvdtrain evaluate`: what a checkpoint reaches on held-out data."""

from __future__ import annotations

import json
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from hvdtrain.train.scoring import Score


class Part(str, Enum):
    """A part of the data."""

    test = "test"
    val = "val"
    train = "train"


class Which(str, Enum):
    """A checkpoint of a run."""

    best = "best"
    newest = "newest"


def evaluate(
    checkpoint: Annotated[Path, typer.Argument(help="A checkpoint, or a run directory.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Changes to its recipe, such as task.beam_size=8.", show_default=False),
    ] = None,
    part: Annotated[
        Part | None, typer.Option(help="By default test, or val where there is no test part.", show_default=False)
    ] = None,
    which: Annotated[Which, typer.Option(help="Of a run directory: the best or the newest checkpoint.")] = Which.best,
    samples: Annotated[
        int | None, typer.Option(min=1, help="Evaluate so many, evenly chosen.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON.")] = False,
) -> None:
    """Measure a checkpoint on the part of its data that was held out; works under horovodrun as well.

    Examples: hvdtrain evaluate runs/cnn-digits; horovodrun -np 2 hvdtrain evaluate runs/translation-en-es
    """
    from hvdtrain import world as worlds
    from hvdtrain.train.scoring import score

    world = worlds.start({})
    found = score(
        checkpoint,
        world,
        part=part.value if part else None,
        limit=samples,
        prefer=which.value,
        changes=tuple(overrides or ()),
    )
    if world.rank == 0:
        typer.echo(json.dumps(_values(found)) if as_json else "\n".join(_lines(found)))
    world.close()


def _values(found: Score) -> dict[str, object]:
    trained, record = found.trained, found.record
    return {
        "recipe": trained.recipe.name,
        "checkpoint": str(trained.path),
        "step": trained.step,
        "part": record.part,
        "samples": record.samples,
        "metrics": dict(record.metrics),
        "references": {metric: dict(marks) for metric, marks in found.references.items()},
        "notes": list(found.notes),
    }


def _lines(found: Score) -> list[str]:
    from hvdtrain.report import format as fmt
    from hvdtrain.report.history import metric_names

    trained, record = found.trained, found.record
    lines = [
        f"{trained.recipe.name} at step {trained.step:,}: {fmt.plural(record.samples, 'sample')} of part "
        f"{record.part} in {fmt.seconds(record.seconds)} ({trained.path})"
    ]
    names = metric_names(record.metrics)
    width = max((len(name) for name, _ in names), default=0)
    lines += [f"  {name:<{width}}  {fmt.loss(value)}" for name, value in names]
    for metric, marks in found.references.items():
        [(shown, _)] = metric_names({metric: 0.0})
        lines += [f"  to compare: {shown} {fmt.loss(value)}, {name}" for name, value in marks.items()]
    return [*lines, *(f"  note: {note}" for note in found.notes)]
