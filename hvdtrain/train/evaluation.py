"""Evaluation on all workers: each takes its share of a part, sums are added, metrics are exact for any number."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from hvdtrain.metrics import activity
from hvdtrain.metrics.records import EvalRecord
from hvdtrain.tasks._task import Gathered

if TYPE_CHECKING:
    from hvdtrain.data.prepared import Dataset
    from hvdtrain.tasks._task import Task
    from hvdtrain.train.assemble import Assembly
    from hvdtrain.train.precision import Precision
    from hvdtrain.world import World


def evaluate(
    model: torch.nn.Module,
    task: Task,
    dataset: Dataset,
    *,
    world: World,
    precision: Precision,
    batch_size: int,
    limit: int | None,
    step: int,
    part: str = "val",
) -> EvalRecord:
    """Return the task's metrics over a data set, or over `limit` samples evenly chosen from it."""
    from hvdtrain.data.loader import evaluation_batches

    began = time.perf_counter()
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    collected = _Collected()
    with torch.inference_mode():
        for batch in evaluation_batches(dataset, world.rank, world.size, batch_size, limit, numbered=task.numbered):
            activity.begin("evaluating")
            with precision.autocast():
                collected.add(task.evaluate(model, {name: tensor.to(device) for name, tensor in batch.items()}))
    model.train(was_training)
    return EvalRecord(
        step=step,
        metrics=task.metrics(collected.over(world)),
        samples=len(dataset) if limit is None else min(limit, len(dataset)),
        seconds=time.perf_counter() - began,
        part=part,
    )


def validate(run: Assembly) -> EvalRecord:
    """Return the metrics of a run's model as it is, over its validation data or as much of it as the recipe says."""
    loop = run.loop
    return evaluate(
        loop.model,
        loop.task,
        run.data.val,
        world=loop.world,
        precision=loop.precision,
        batch_size=run.batch.micro_batch_size,
        limit=run.recipe.train.eval_samples,
        step=loop.step,
    )


class _Collected:
    """What a worker's batches gave: sums in double precision, and rows."""

    def __init__(self) -> None:
        self._sums: dict[str, torch.Tensor] = {}
        self._rows: dict[str, list[torch.Tensor]] = {}

    def add(self, found: Mapping[str, torch.Tensor | Gathered]) -> None:
        for name, value in found.items():
            if isinstance(value, Gathered):
                self._rows.setdefault(name, []).append(value.values.detach().cpu())
            else:
                value = value.detach().to(device="cpu", dtype=torch.float64)
                self._sums[name] = self._sums[name] + value if name in self._sums else value

    def over(self, world: World) -> dict[str, torch.Tensor]:
        """Return the totals of all workers; one that had no batch learns names and shapes from the others."""
        rows = {name: torch.cat(parts).double() for name, parts in self._rows.items()}
        mine = [{n: list(t.shape) for n, t in self._sums.items()}, {n: list(t.shape[1:]) for n, t in rows.items()}]
        shapes: tuple[dict[str, Any], ...] = ({}, {})
        for layout in world.gather(mine):
            for known, own in zip(shapes, layout, strict=True):
                known.update(own)
        totals = self._added(world, shapes[0])
        for name in sorted(shapes[1]):
            own = rows.get(name, torch.empty((0, *shapes[1][name]), dtype=torch.float64))
            totals[name] = world.concatenate(own, f"evaluation.{name}")
        return totals

    def _added(self, world: World, shapes: Mapping[str, list[int]]) -> dict[str, torch.Tensor]:
        names = sorted(shapes)
        if not names:
            return {}
        own = [self._sums.get(name, torch.zeros(shapes[name], dtype=torch.float64)) for name in names]
        whole = world.start_sum(torch.cat([tensor.reshape(-1) for tensor in own]), "evaluation").wait()
        pieces = torch.split(whole, [tensor.numel() for tensor in own])
        return {name: piece.reshape(shapes[name]) for name, piece in zip(names, pieces, strict=True)}
