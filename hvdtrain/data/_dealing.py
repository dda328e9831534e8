"""Which samples a global batch holds, and which worker gets each: a function of the position alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hvdtrain.data.partitions._partition import Order, Parts
from hvdtrain.errors import RecipeError
from hvdtrain.registry import RegisteredConfig, find

if TYPE_CHECKING:
    from hvdtrain.data.prepared import Dataset


@dataclass(frozen=True)
class GlobalBatch:
    """Indices into the data set, (b,) int64, in the order in which they are dealt, and the worker of each, (b,)."""

    samples: np.ndarray
    workers: np.ndarray


class Dealing(ABC):
    """Deals a data set out, epoch after epoch.

    A position is the number of samples dealt so far to all workers together. `identity` is what a position depends on
    to mean anything, beside the data set, the seed and the partition; `part_sizes` are the samples of each part, none
    where there are no parts.
    """

    identity: Mapping[str, Any]
    part_sizes: tuple[int, ...] = ()

    @abstractmethod
    def batch(self, position: int) -> GlobalBatch | None:
        """Return the global batch at a position; None where the samples of all epochs have been dealt.

        No worker gets more than its share of a whole global batch.
        """

    @abstractmethod
    def steps_left(self, position: int) -> int | None:
        """Return the number of global batches from a position on, or None where there is no end."""


class OrderDealing(Dealing):
    """The next `global_batch_size` samples of an order are a global batch.

    With N samples in the data set, global sample k is sample `order(epoch)[k % N]` of epoch `k // N`. So every sample
    of an epoch is dealt exactly once, a global batch may span epochs, it does not depend on the number of workers, and
    only the last one of a run may be smaller. Each worker's share of it is the same to one sample.
    """

    def __init__(self, order: Order, samples: int, global_batch_size: int, size: int, epochs: int | None) -> None:
        self.identity: dict[str, Any] = {}
        self._order, self._samples = order, samples
        self._global_batch_size, self._size = global_batch_size, size
        self._total = None if epochs is None else epochs * samples
        self._key, self._ordered = (-1, -1), -1
        self._known = GlobalBatch(np.empty(0, np.int64), np.empty(0, np.int64))

    def batch(self, position: int) -> GlobalBatch | None:
        end = position + self._global_batch_size
        if self._total is not None:
            end = min(end, self._total)
        if end <= position:
            return None
        pieces = []
        for epoch in range(position // self._samples, (end - 1) // self._samples + 1):
            begin = epoch * self._samples
            whole = self._epoch(epoch, (begin - position) % self._size)
            chosen = slice(max(0, position - begin), min(self._samples, end - begin))
            pieces.append((whole.samples[chosen], whole.workers[chosen]))
        samples, workers = (np.concatenate(kind) for kind in zip(*pieces, strict=True))
        return GlobalBatch(samples, workers)

    def steps_left(self, position: int) -> int | None:
        return None if self._total is None else max(0, -(-(self._total - position) // self._global_batch_size))

    def _epoch(self, epoch: int, first: int) -> GlobalBatch:
        """Return a whole epoch; `first` does not change from batch to batch if they are multiples of the workers."""
        if self._key != (epoch, first):
            self._key = (epoch, first)
            # With a batch that is no multiple of the workers `first` changes each time, and the order does not.
            order = self._known.samples if self._ordered == epoch else self._order.order(epoch)
            self._ordered = epoch
            self._known = GlobalBatch(order, self._order.workers(order, first, self._size))
        return self._known


class PartsDealing(Dealing):
    """A global batch takes an equal fraction of each part, and no more than `global_batch_size` / parts of any.

    An epoch is the S = max_k ceil(m_k / (global_batch_size / parts)) batches that the largest part needs; batch s takes
    the samples floor(s m_k / S) to floor((s + 1) m_k / S) of part k, which has m_k. So in an epoch every sample is
    dealt exactly once, all workers do the same number of steps, and every batch is made up as all the data are.

    What is weighed: with unequal parts a batch holds about N / S samples, fewer than `global_batch_size`, and workers
    with less wait for the one with most. The alternatives are worse: filling up small parts repeats samples; letting
    them run out early ends every epoch with batches that only the largest parts make up; and letting a worker take more
    at once takes memory that the recipe did not grant. The loss is the mean over the samples of the batch, whoever has
    them, so that every sample weighs the same.

    Batches do not span epochs.
    """

    def __init__(self, parts: Parts, global_batch_size: int, size: int, epochs: int | None) -> None:
        """Each worker takes equally many neighbouring parts.

        Raises:
            RecipeError: the batch can't be divided between the parts.
        """
        count = len(parts.indices)
        if global_batch_size % count:
            near = global_batch_size // count * count or count
            raise RecipeError(
                f"train.global_batch_size = {global_batch_size}: {count} parts (data.partition) can't have equal "
                f"shares of it; use a multiple of {count}, such as train.global_batch_size={near}, or another number "
                "of parts"
            )
        sizes = np.array([len(part) for part in parts.indices])
        self.identity: dict[str, Any] = {"parts": count, "global_batch_size": global_batch_size}
        self.part_sizes = tuple(sizes.tolist())
        self._parts, self._epochs = parts, epochs
        self._steps = int(-(-sizes.max() // (global_batch_size // count)))
        self._bounds = np.arange(self._steps + 1)[:, None] * sizes // self._steps
        self._ends = self._bounds.sum(1)
        self._owners = np.arange(count) // (count // size)
        self._epoch = -1
        self._orders: list[np.ndarray] = []

    def batch(self, position: int) -> GlobalBatch | None:
        epoch, step = self._place(position)
        if self._epochs is not None and epoch >= self._epochs:  # a resumed run may have been given fewer
            return None
        if epoch != self._epoch:
            self._epoch = epoch
            self._orders = [self._parts.order(part, epoch) for part in range(len(self._owners))]
        begins, ends = self._bounds[step : step + 2].tolist()
        pieces = [order[begin:end] for order, begin, end in zip(self._orders, begins, ends, strict=True)]
        return GlobalBatch(np.concatenate(pieces), np.repeat(self._owners, [len(piece) for piece in pieces]))

    def steps_left(self, position: int) -> int | None:
        epoch, step = self._place(position)
        return None if self._epochs is None else max(0, (self._epochs - epoch) * self._steps - step)

    def _place(self, position: int) -> tuple[int, int]:
        """Return the epoch, and the batch in it."""
        epoch, dealt = divmod(position, int(self._ends[-1]))
        return epoch, int(np.searchsorted(self._ends, dealt))


def make_dealing(
    dataset: Dataset, config: RegisteredConfig, *, seed: int, global_batch_size: int, size: int, epochs: int | None
) -> Dealing:
    """Return how a partition deals a data set to `size` workers.

    Raises:
        UserError: the partition can't be made of these data, or not for so many workers.
    """
    made: Order | Parts = find("partitions", config.name).build(config, dataset, seed, size)
    if isinstance(made, Parts):
        return PartsDealing(made, global_batch_size, size, epochs)
    return OrderDealing(made, len(dataset), global_batch_size, size, epochs)
