"""What the tests of the supervised tasks share: a model that looks its answers up, data, and evaluation in shares."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hvdtrain.data.encoders import TableEncoder
from hvdtrain.data.example_sets import ArrayDataset
from hvdtrain.data.prepared import PreparedData
from hvdtrain.tasks._task import Task
from hvdtrain.train.evaluation import _Collected
from hvdtrain.world import Solo


class Answers(nn.Module):
    """Gives fixed outputs (N, outputs): `inputs` (B, 1) are the rows' numbers."""

    def __init__(self, outputs: Tensor) -> None:
        super().__init__()
        self.outputs = nn.Parameter(outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.outputs[inputs[:, 0].long()]


def batch(targets: Tensor, rows: Tensor | None = None) -> dict[str, Tensor]:
    """The batch of some rows, of all unless told."""
    rows = torch.arange(len(targets)) if rows is None else rows
    return {"inputs": rows[:, None].float(), "targets": targets[rows]}


def evaluated(task: Task, outputs: Tensor, targets: Tensor, shares: int = 1) -> dict[str, float]:
    """Evaluate as workers do: each its share, in batches of two and an empty one; sums are added, rows are joined."""
    collected, model = _Collected(), Answers(outputs)
    with torch.inference_mode():
        for share in range(shares):
            mine = torch.arange(len(targets))[share::shares]
            for rows in [*mine.split(2), mine[:0]]:
                collected.add(task.evaluate(model, batch(targets, rows)))
    return task.metrics(collected.over(Solo()))


def prepared(
    encoder: TableEncoder, train: list[int], test: list[int], references: Mapping[str, Mapping[str, float]]
) -> PreparedData:
    """Data whose parts have these classes; validation is one sample of class 0."""
    labels = np.array([*train, 0, *test])
    rows = np.arange(len(labels))

    def part(chosen: np.ndarray) -> ArrayDataset:
        return ArrayDataset(rows[:, None].astype(float), encoder, chosen, labels, labels)

    middle = len(train)
    return PreparedData(
        train=part(rows[:middle]),
        val=part(rows[middle : middle + 1]),
        test=part(rows[middle + 1 :]) if test else None,
        encoder=encoder,
        fingerprint="",
        references=references,
    )


@pytest.fixture
def supervised() -> SimpleNamespace:
    """`Answers`, `batch`, `evaluated` and `prepared` above."""
    return SimpleNamespace(Answers=Answers, batch=batch, evaluated=evaluated, prepared=prepared)
