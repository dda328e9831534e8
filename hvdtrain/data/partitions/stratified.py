"""One seeded order in which the classes are evenly spread, dealt so that each worker has its share of each class.

- A global batch does not depend on the number of workers, and has its share of each class to less than two samples:
  in the first m samples of an epoch there are m times the class's share, to less than one sample.
- Of each class, the samples that two workers get in an epoch differ by one at most, for any number of workers and any
  number of samples. (An epoch in which a run was resumed with another number of workers is no whole epoch to any.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from hvdtrain.data.partitions._partition import Order, PartitionConfig, labels_of

if TYPE_CHECKING:
    import numpy as np

    from hvdtrain.data.prepared import Dataset


class Config(PartitionConfig):
    """Equal shares of each class, in random order otherwise; needs data with classes."""

    name: Literal["stratified"] = "stratified"


@dataclass(frozen=True)
class StratifiedOrder(Order):
    """An order of the samples with these `labels` (N,), which are 0, 1, ..., none left out."""

    labels: np.ndarray
    seed: int

    def order(self, epoch: int) -> np.ndarray:
        """Return a permutation whose classes `_equal_shares.spread` places, those of a class in random order."""
        import numpy as np

        from hvdtrain.data.ordering import permutation
        from hvdtrain.data.partitions._equal_shares import spread

        count = len(self.labels)
        classes = spread(np.bincount(self.labels), permutation(count, self.seed, epoch, _TIES))
        shuffled = permutation(count, self.seed, epoch)
        order = np.empty(count, dtype=np.int64)
        order[np.argsort(classes, kind="stable")] = shuffled[np.argsort(self.labels[shuffled], kind="stable")]
        return order

    def workers(self, order: np.ndarray, first: int, size: int) -> np.ndarray:
        from hvdtrain.data.partitions._equal_shares import deal

        return deal(self.labels[order], first, size)


_TIES = 0x74696573
"""Keeps the random numbers that choose between classes apart from those that shuffle the samples."""


def build(config: Config, dataset: Dataset, seed: int, workers: int) -> StratifiedOrder:
    """Return the order of a data set's samples.

    Raises:
        DataError: they have no classes.
    """
    return StratifiedOrder(labels_of(dataset, config.name), seed)
