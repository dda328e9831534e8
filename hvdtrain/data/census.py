"""What each worker gets of a data set: samples by class, or by shard, and whether each sample is dealt exactly once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hvdtrain.data._dealing import make_dealing
from hvdtrain.registry import RegisteredConfig

if TYPE_CHECKING:
    from hvdtrain.data.prepared import PreparedData

_AT_ONCE = 1024
"""Samples of a part that are dealt together: how the workers' samples are counted, not which they are."""


@dataclass(frozen=True)
class Census:
    """The first epoch of a partition, counted.

    Attributes:
        kind: what samples are counted by: "shard" where these are dealt, else "class", else "shard", or "" where the
            data have no classes and not two shards.
        names: of the K classes or shards; one, "samples", where `kind` is "".
        counts: (K, n) int64: samples of each class that each of the n workers gets.
        parts: the number of parts that the workers share, None where one order is dealt to all.
        largest_part: samples of the largest part, None where there are no parts.
        samples: samples of the data set.
        missing: indices of samples that no worker gets.
        repeated: indices of samples that are dealt more than once.
    """

    kind: str
    names: tuple[str, ...]
    counts: np.ndarray
    parts: int | None
    largest_part: int | None
    samples: int
    missing: np.ndarray
    repeated: np.ndarray

    def distances(self) -> np.ndarray:
        """Return how far each worker's shares of the classes are from those in all the data: (n,).

        It is the total variation distance, 1/2 sum_c |p_k(c) - p(c)|, from 0 (equal) to 1 (nothing in common): the
        fraction of a worker's samples that would have to be of other classes. Of a worker without samples it is nan.
        """
        own = self.counts / np.where(self.counts.sum(0) > 0, self.counts.sum(0), np.nan)
        whole = self.counts.sum(1) / self.counts.sum()
        distances: np.ndarray = np.abs(own - whole[:, None]).sum(0) / 2
        return distances


def take_census(data: PreparedData, config: RegisteredConfig, seed: int, workers: int) -> Census:
    """Deal the training samples for one epoch, as a run does, and count what each worker gets.

    Raises:
        UserError: the partition can't be made of these data, or not for so many workers.
    """
    dataset = data.train
    count = len(dataset)
    at_once = _AT_ONCE * max(workers, getattr(config, "parts", None) or 1)
    dealing = make_dealing(dataset, config, seed=seed, global_batch_size=at_once, size=workers, epochs=1)
    times = np.zeros(count, dtype=np.int64)
    kind, kinds, names = _kinds(data, by_shard=config.name == "shard")
    counts = np.zeros((len(names), workers), dtype=np.int64)
    position = 0
    while (batch := dealing.batch(position)) is not None:
        position += len(batch.samples)
        np.add.at(times, batch.samples, 1)
        np.add.at(counts, (kinds[batch.samples], batch.workers), 1)
    sizes = dealing.part_sizes
    return Census(
        kind=kind,
        names=names,
        counts=counts,
        parts=len(sizes) or None,
        largest_part=max(sizes, default=None),
        samples=count,
        missing=np.flatnonzero(times == 0),
        repeated=np.flatnonzero(times > 1),
    )


def _kinds(data: PreparedData, *, by_shard: bool) -> tuple[str, np.ndarray, tuple[str, ...]]:
    """Return what to count samples by, the number of each sample's, (N,), and their names."""
    labels, shards = data.train.labels, data.train.shards
    if labels is not None and not by_shard:
        return "class", labels, data.encoder.class_names or tuple(map(str, range(int(labels.max()) + 1)))
    if shards is not None:
        numbers, own = np.unique(shards, return_inverse=True)
        if len(numbers) > 1:
            return "shard", own.reshape(-1), tuple(f"shard {number}" for number in numbers.tolist())
    return "", np.zeros(len(data.train), dtype=np.int64), ("samples",)
