"""`hvdtrain data partition`: which worker gets what, and that nothing is lost or repeated."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np

    from hvdtrain.data.census import Census
    from hvdtrain.recipe import Recipe
    from hvdtrain.report.document import Block, Table

MOST_KINDS = 40
"""Classes or shards that are shown one by one."""


def partition(
    recipe: Annotated[str, typer.Argument(help="A recipe file, or the name of a shipped recipe.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Changes to the recipe, such as data.partition.name=stratified.", show_default=False),
    ] = None,
    workers: Annotated[int, typer.Option("-np", "--np", min=1, help="The number of workers.")] = 2,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show which worker gets what of a recipe's training samples, and check that each is in exactly one part.

    The table counts the samples of the first epoch by worker and by class,
    or by file or shard where these are dealt or there are no classes. A sample lost or repeated
    makes it exit with 1.

    Example: hvdtrain data partition mlp-binary -np 10

    Example: hvdtrain data partition cnn-digits -np 4 'data.partition={name: dirichlet, alpha: 0.1}'
    """
    from hvdtrain.data.census import take_census
    from hvdtrain.data.prepare import prepare
    from hvdtrain.errors import RecipeError, RunError
    from hvdtrain.recipe import load

    loaded = load(recipe, overrides or []).recipe
    form: str = getattr(loaded.task, "data_form", "examples")
    config: Any = getattr(loaded.data, "partition", None)
    if form == "environments" or config is None:
        raise RecipeError(f"data '{loaded.data.name}' is not partitioned: each worker steps environments of its own")
    data = prepare(loaded.data, loaded.tokenizer, loaded.seed, form)
    census = take_census(data, config, loaded.seed, workers)
    if as_json:
        typer.echo(json.dumps(_values(loaded, census), indent=2))
    else:
        _show(loaded, census)
    if len(census.missing) or len(census.repeated):
        raise RunError(_broken(census))


def _show(recipe: Recipe, census: Census) -> None:
    from rich.console import Console

    from hvdtrain.report.document_console import console as render

    console = Console(highlight=False)
    console.print(render(list(_blocks(recipe, census)), console.width))


def _blocks(recipe: Recipe, census: Census) -> Iterator[Block]:
    import numpy as np

    from hvdtrain.report import format as fmt
    from hvdtrain.report.document import Heading, Paragraph

    config: Any = recipe.data.partition  # type: ignore[attr-defined]
    settings = config.model_dump(exclude={"name", "parts"})
    described = ", ".join([config.name, *(f"{key} {value}" for key, value in settings.items())])
    workers = fmt.plural(census.counts.shape[1], "worker")
    yield Heading(f"{recipe.name}: {fmt.plural(census.samples, 'training sample')} to {workers}", level=1)
    yield Paragraph(f"partition {described}; seed {recipe.seed}; first epoch")
    yield _table(census)
    if not (len(census.missing) or len(census.repeated)):
        yield Paragraph(f"every one of {fmt.plural(census.samples, 'sample')} is in exactly one part")
    if census.kind == "class":
        distances = census.distances()
        worst = int(np.nanargmax(distances))
        yield Paragraph(
            f"worker {worst} is the farthest from the whole: {distances[worst]:.3f} (total variation distance: the "
            "fraction of its samples that would have to be of other classes)"
        )
    yield Paragraph(_what_it_means(census, recipe))


def _table(census: Census) -> Table:
    """Counts by class and worker, with totals and shares; the fewer of the two are the columns."""
    from hvdtrain.report import format as fmt
    from hvdtrain.report.document import Table

    def ends(counts: Sequence[int]) -> list[list[str]]:
        return [[f"{count:,}", fmt.percent(count / census.samples, 1)] for count in counts]

    by_worker = census.counts.sum(0).tolist()
    workers = [f"worker {rank}" for rank in range(len(by_worker))]
    of_workers = ends([*by_worker, census.samples])
    if not census.kind:
        rows = zip([*workers, "total"], *zip(*of_workers, strict=True), strict=True)
        return Table(("", "samples", "share"), tuple(rows))
    names, counts = _shown(census)
    totals, shares = zip(*ends(counts.sum(1).tolist()), strict=True)
    turned = len(names) >= len(workers)
    table = [
        (census.kind if turned else "", *names, "total", "share"),
        *(
            (worker, *(f"{count:,}" for count in own), *end)
            for worker, own, end in zip(workers, counts.T.tolist(), of_workers[:-1], strict=True)
        ),
        ("total", *totals, *of_workers[-1]),
        ("share", *shares, "", ""),
    ]
    if census.kind == "class":
        distances = [f"{distance:.3f}" if distance == distance else "-" for distance in census.distances().tolist()]
        table = [(*row, last) for row, last in zip(table, ("distance", *distances, "", ""), strict=True)]
    first, *others = zip(*table, strict=True) if turned else table
    return Table(first, tuple(others))


def _shown(census: Census) -> tuple[list[str], np.ndarray]:
    """Return names and counts of the classes; where there are very many, of the largest, and of the others together."""
    import numpy as np

    names, counts = list(census.names), census.counts
    if len(names) <= MOST_KINDS:
        return names, counts
    largest = np.argsort(-counts.sum(1), kind="stable")
    shown, folded = np.sort(largest[: MOST_KINDS - 1]), largest[MOST_KINDS - 1 :]
    chosen = [names[kind] for kind in shown.tolist()]
    return [*chosen, f"{len(folded):,} others"], np.concatenate([counts[shown], counts[folded].sum(0, keepdims=True)])


def _what_it_means(census: Census, recipe: Recipe) -> str:
    from hvdtrain.report import format as fmt

    if census.parts is None or census.largest_part is None:
        return (
            "A part is what the worker is dealt in this epoch; the next one is dealt anew. A global batch holds the "
            "same samples for any number of workers."
        )
    own = census.parts // census.counts.shape[1]
    text = f"A worker keeps its {'part' if own == 1 else f'{own} of {census.parts} parts'} for all epochs."
    if _depends_on_workers(recipe):
        text += (
            " Parts depend on the number of workers; one process repeats what these compute with "
            f"data.partition.parts={census.parts}"
        )
        if recipe.train.global_batch_size is None:  # that of these workers
            text += f" and train.global_batch_size={recipe.train.micro_batch_size * census.counts.shape[1]}"
        text += "."
    empty = 1 - census.samples / (census.parts * census.largest_part)
    if empty >= 0.005:
        text += (
            f" The largest part, {fmt.plural(census.largest_part, 'sample')}, sets the pace: "
            f"{fmt.percent(empty)} of the places in the global batches stay empty."
        )
    return text


def _depends_on_workers(recipe: Recipe) -> bool:
    config: Any = recipe.data.partition  # type: ignore[attr-defined]
    return config.depends_on_workers and getattr(config, "parts", None) is None


def _values(recipe: Recipe, census: Census) -> dict[str, Any]:
    """Return JSON values: `counts` has a list for each name, of a number for each worker."""
    config: Any = recipe.data.partition  # type: ignore[attr-defined]
    distances = None
    if census.kind == "class":
        distances = [None if d != d else d for d in census.distances().tolist()]  # nan: of a worker without samples
    return {
        "recipe": recipe.name,
        "partition": config.model_dump(mode="json"),
        "depends_on_workers": _depends_on_workers(recipe),
        "seed": recipe.seed,
        "workers": census.counts.shape[1],
        "parts": census.parts,
        "samples": census.samples,
        "counted_by": census.kind or None,
        "names": list(census.names),
        "counts": census.counts.tolist(),
        "samples_by_worker": census.counts.sum(0).tolist(),
        "total_variation_distance": distances,
        "exactly_once": not (len(census.missing) or len(census.repeated)),
        "missing": census.missing.tolist(),
        "repeated": census.repeated.tolist(),
    }


def _broken(census: Census) -> str:
    missing, repeated = census.missing.tolist(), census.repeated.tolist()
    found = []
    if missing:
        found.append(f"{len(missing):,} of {census.samples:,} samples are in no part (the first: sample {missing[0]})")
    if repeated:
        found.append(f"{len(repeated):,} are dealt more than once (the first: sample {repeated[0]})")
    return f"the partition is broken: {' and '.join(found)}"
