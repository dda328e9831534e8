"""Evaluation on all workers: each takes its share of the split, sums are added, metrics are exact for any number."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import torch

from hvdtrain.metrics.records import EvalRecord
from hvdtrain.world import sum_over_workers

if TYPE_CHECKING:
    from hvdtrain.data.sequences import SequenceDataset
    from hvdtrain.tasks._task import Task
    from hvdtrain.train.precision import Precision
    from hvdtrain.world import World


def evaluate(
    model: torch.nn.Module,
    task: Task,
    dataset: SequenceDataset,
    *,
    world: World,
    precision: Precision,
    batch_size: int,
    limit: int | None,
    step: int,
) -> EvalRecord:
    """Return the task's metrics over a split, or over its first `limit` samples."""
    from hvdtrain.data.loader import shard

    began = time.perf_counter()
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    sums: dict[str, float] = {}
    with torch.inference_mode():
        for batch in shard(dataset, world.rank, world.size, batch_size, limit):
            with precision.autocast():
                part = task.evaluate(model, {name: tensor.to(device) for name, tensor in batch.items()})
            for name, value in part.items():
                sums[name] = sums.get(name, 0.0) + float(value)
    model.train(was_training)
    names = sorted(set().union(*world.gather(sorted(sums))))
    totals = sum_over_workers(world, [sums.get(name, 0.0) for name in names], "evaluation")
    samples = len(dataset) if limit is None else min(limit, len(dataset))
    return EvalRecord(
        step=step,
        metrics=task.metrics(dict(zip(names, totals, strict=True))),
        samples=samples,
        seconds=time.perf_counter() - began,
    )
