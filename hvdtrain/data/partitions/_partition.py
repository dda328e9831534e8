"""The two kinds of partition: one order of all samples that is dealt out, and parts that workers keep."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from hvdtrain.errors import DataError, RecipeError
from hvdtrain.registry import RegisteredConfig

if TYPE_CHECKING:
    import numpy as np

    from hvdtrain.data.prepared import Dataset


class PartitionConfig(RegisteredConfig):
    """Base of the configs of partitions."""

    depends_on_workers: ClassVar[bool] = False
    """Whether a worker's samples, and so what a run computes, depend on the number of workers, unless it is fixed."""


class PartsConfig(PartitionConfig):
    """A partition into parts, one for each worker, which it keeps for all epochs.

    `parts` fixes their number, whatever that of the workers: then each worker takes `parts` / workers of them, and one
    process repeats exactly what n workers computed with `parts` n. Left out, there are as many parts as workers.
    """

    depends_on_workers: ClassVar[bool] = True

    parts: int | None = Field(None, ge=1)


class Order(ABC):
    """One order of all samples, new each epoch, that is dealt out to the workers.

    A global batch is the next samples of it, so that it holds the same samples for any number of workers.
    """

    @abstractmethod
    def order(self, epoch: int) -> np.ndarray:
        """Return the epoch's permutation of all sample indices: (N,) int64."""

    def workers(self, order: np.ndarray, first: int, size: int) -> np.ndarray:
        """Return which of `size` workers gets the sample in each place of an epoch's `order`: (N,) int64.

        The order is cut into rows of `size` samples, one for each worker, so that all have equally many of a global
        batch. `first` is the place in its row of the epoch's first sample. Where two epochs share a row, the end of the
        one goes to workers 0 to `first` - 1 and the beginning of the other to those from `first` on.
        """
        import numpy as np

        return (first + np.arange(len(order))) % size


@dataclass(frozen=True)
class Parts:
    """Disjoint parts that hold all samples together: ascending indices (m_k,) int64, each shuffled anew each epoch."""

    indices: tuple[np.ndarray, ...]
    seed: int

    def order(self, part: int, epoch: int) -> np.ndarray:
        """Return the epoch's permutation of a part's sample indices, a function of seed, epoch and part."""
        from hvdtrain.data.ordering import permutation

        own = self.indices[part]
        shuffled: np.ndarray = own[permutation(len(own), self.seed, epoch, part)]
        return shuffled


def count_parts(config: PartsConfig, dataset: Dataset, workers: int) -> int:
    """Return the number of parts.

    Raises:
        RecipeError: the workers can't have equally many of them.
        DataError: there are fewer samples than parts.
    """
    parts = config.parts or workers
    if parts % workers:
        divisors = ", ".join(str(n) for n in range(1, parts + 1) if parts % n == 0)
        raise RecipeError(
            f"data.partition.parts = {parts}: {workers} workers can't have equally many of them; use {divisors} "
            f"workers, or data.partition.parts={workers}, or a multiple"
        )
    if len(dataset) < parts:
        advice = (
            f", one for each worker; use at most {len(dataset)} workers"
            if config.parts is None
            else f" (data.partition.parts); use at most {len(dataset)}"
        )
        raise DataError(
            f"data.partition = {config.name}: {len(dataset)} training samples can't be cut into {parts} parts{advice}, "
            "or partition {name: random}"
        )
    return parts


def labels_of(dataset: Dataset, name: str) -> np.ndarray:
    """Return the class of each sample (N,), as numbers from 0 that leave none out.

    Raises:
        DataError: the samples have no classes.
    """
    import numpy as np

    if dataset.labels is None:
        raise DataError(
            f"data.partition = {name}: it deals by class, and the samples of these data have none (running text, "
            "pairs of texts, numbers as targets); use partition {name: random} or {name: contiguous}"
        )
    return np.unique(dataset.labels, return_inverse=True)[1].reshape(-1)
