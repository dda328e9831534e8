"""Neighbouring samples, as they lie in the data: each worker has its own stretch of them.

What is cheapest to read where each host holds a piece of the data. Of data that are sorted, by class or by time, a
worker sees only some; a global batch still holds samples of all parts (see `_dealing.PartsDealing`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from hvdtrain.data.partitions._partition import Parts, PartsConfig, count_parts

if TYPE_CHECKING:
    from hvdtrain.data.prepared import Dataset


class Config(PartsConfig):
    """Neighbouring samples; depends on the number of workers, unless `parts` is set."""

    name: Literal["contiguous"] = "contiguous"


def build(config: Config, dataset: Dataset, seed: int, workers: int) -> Parts:
    """Return parts whose sizes differ by one at most.

    Raises:
        RecipeError: `parts` is no multiple of the workers.
        DataError: there are fewer samples than parts.
    """
    import numpy as np

    return Parts(tuple(np.array_split(np.arange(len(dataset)), count_parts(config, dataset, workers))), seed)
