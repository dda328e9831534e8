"""One seeded order of all samples, new for each epoch and the same for any number of workers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from hvdtrain.registry import RegisteredConfig

if TYPE_CHECKING:
    import numpy as np


class Config(RegisteredConfig):
    """Samples in random order: the samples of a global batch do not depend on the number of workers."""

    name: Literal["random"] = "random"


@dataclass(frozen=True)
class RandomPartition:
    """The order of `samples` samples in each epoch, a function of the seed and the epoch alone."""

    samples: int
    seed: int

    def order(self, epoch: int) -> np.ndarray:
        """Return the epoch's permutation of all sample indices: (samples,) int64."""
        from hvdtrain.data.ordering import permutation

        return permutation(self.samples, self.seed, epoch)


def build(config: Config, samples: int, seed: int) -> RandomPartition:
    """Return the partition of so many samples."""
    return RandomPartition(samples, seed)
