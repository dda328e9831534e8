"""Running statistics of workers: whose are taken up when a run goes on with as many workers, or with others."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from hvdtrain.sync._batchnorm import convert
from hvdtrain.train.statistics import RunningStatistics
from hvdtrain.world import Solo

MEAN = 5.0
"""What the model of the checkpoint has."""


class Place(Solo):
    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size


def statistics(rank: int, size: int, training: int, value: float) -> tuple[RunningStatistics, torch.nn.Module]:
    model = torch.nn.BatchNorm1d(1)
    model.running_mean.fill_(value)
    return RunningStatistics(model, Place(rank, size), training), model


def rows(size: int, training: int, synchronises: bool) -> dict[str, torch.Tensor]:
    """Of workers whose means are 0, 1, ..."""
    kept = [statistics(rank, size, training, float(rank))[0].own_state(synchronises) for rank in range(size)]
    return {name: torch.stack([one[name] for one in kept]) for name in kept[0]}


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        ((2, 2, True), (1, 2, 2, True), 1.0),
        ((2, 2, False), (1, 2, 2, False), 1.0),
        ((2, 2, True), (2, 3, 3, True), MEAN),
        ((3, 2, True), (2, 3, 3, True), MEAN),
        ((2, 2, False), (1, 2, 2, True), 0.0),
        ((2, 2, False), (2, 3, 3, False), 0.0),
        ((2, 2, False), (0, 1, 1, True), 0.0),
        ((2, 2, True), (1, 2, 2, False), MEAN),
    ],
    ids=[
        "as before",
        "as before, apart",
        "more",
        "a server trains now",
        "now together",
        "more, apart",
        "one",
        "now apart",
    ],
)
def test_whose_are_taken_up(before: tuple[Any, ...], now: tuple[Any, ...], expected: float) -> None:
    """A rank, size, how many train, and whether they synchronise."""
    rank, size, training, synchronises = now
    taken, model = statistics(rank, size, training, MEAN)
    taken.load_own_state(rows(*before), synchronises)
    assert model.running_mean.item() == expected


def test_one_workers_are_the_models_and_synchronised_ones_are_all_alike() -> None:
    assert statistics(0, 1, 1, 3.0)[0].own_state(True) == {}
    model = convert(torch.nn.Sequential(torch.nn.BatchNorm1d(1)), Solo())
    assert RunningStatistics(model, Place(0, 2), 2).own_state(True) == {}
