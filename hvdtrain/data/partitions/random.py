"""One seeded order of all samples, new for each epoch and the same for any number of workers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from hvdtrain.data.partitions._partition import Order, PartitionConfig

if TYPE_CHECKING:
    import numpy as np

    from hvdtrain.data.prepared import Dataset


class Config(PartitionConfig):
    """Samples in random order: the samples of a global batch do not depend on the number of workers."""

    name: Literal["random"] = "random"


@dataclass(frozen=True)
class RandomOrder(Order):
    """The order of `samples` samples in each epoch, a function of the seed and the epoch alone."""

    samples: int
    seed: int

    def order(self, epoch: int) -> np.ndarray:
        from hvdtrain.data.ordering import permutation

        return permutation(self.samples, self.seed, epoch)


def build(config: Config, dataset: Dataset, seed: int, workers: int) -> RandomOrder:
    """Return the order of a data set's samples."""
    return RandomOrder(len(dataset), seed)
