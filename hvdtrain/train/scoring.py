"""Scores of a checkpoint on a part of its data, by one process or several workers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from hvdtrain.errors import DataError
from hvdtrain.train import device as devices
from hvdtrain.train import precision
from hvdtrain.train.assemble import prepare_alike
from hvdtrain.train.evaluation import evaluate
from hvdtrain.train.opening import Trained, open_trained
from hvdtrain.world import together

if TYPE_CHECKING:
    from hvdtrain.data.prepared import Dataset, PreparedData
    from hvdtrain.metrics.records import EvalRecord
    from hvdtrain.world import World

Part = Literal["test", "val", "train"]


@dataclass(frozen=True)
class Score:
    """What a checkpoint reached on a part, the marks that it is to be held against, and notes on both."""

    trained: Trained
    record: EvalRecord
    references: Mapping[str, Mapping[str, float]]
    notes: tuple[str, ...]


def score(
    path: Path,
    world: World,
    *,
    part: Part | None,
    limit: int | None = None,
    prefer: Literal["newest", "best"] = "best",
    changes: tuple[str, ...] = (),
) -> Score:
    """Evaluate a checkpoint on the data that its recipe names; all workers together, each with its share.

    Args:
        path: a checkpoint or a run directory.
        part: None means the test part, or validation where the data has no test part.
        limit: samples, evenly chosen; None means all.
        prefer: which checkpoint of a run directory.
        changes: to the checkpoint's recipe.

    Raises:
        UserError: the checkpoint or its data is not there, or the part does not exist; raised on all workers.
    """
    trained = together(world, lambda: open_trained(path, changes, prefer))
    recipe = trained.recipe
    devices.set_threads(recipe.train.threads_per_worker, world)
    device = together(world, lambda: devices.choose(world.local_rank))
    number_format = together(world, lambda: precision.choose(recipe.train.precision, device))
    data = prepare_alike(recipe, world)
    together(world, lambda: _check_same(trained, data))
    name, dataset = together(world, lambda: _choose(data, part))
    trained.task.to(device)
    record = evaluate(
        trained.model.to(device),
        trained.task,
        dataset,
        world=world,
        precision=number_format,
        batch_size=recipe.train.micro_batch_size,
        limit=limit,
        step=trained.step,
        part=name,
    )
    return Score(trained, record, trained.task.references(data, record.part), data.notes)


def _check_same(trained: Trained, data: PreparedData) -> None:
    """Of other data, or other parts of it, what is held out now may have been trained on; token ids may differ."""
    if data.fingerprint != trained.fingerprint:
        raise DataError(
            f"the data is not what {trained.path} was trained with: its files, data or tokenizer section, or seed have "
            "changed, so that what is held out now may have been trained on; evaluate with the recipe and the files of "
            "the run (`hvdtrain predict` takes other inputs)"
        )


def _choose(data: PreparedData, part: Part | None) -> tuple[str, Dataset]:
    parts: dict[str, Dataset | None] = {"test": data.test, "val": data.val, "train": data.train}
    chosen = part or ("test" if data.test is not None else "val")
    dataset = parts[chosen]
    if dataset is None or len(dataset) == 0:
        there = ", ".join(name for name, one in parts.items() if one is not None and len(one))
        raise DataError(f"the data of this checkpoint has no part '{chosen}': it has {there}")
    return chosen, dataset
