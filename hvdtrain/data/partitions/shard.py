"""Whole files, folders or documents: each worker has the samples of its own, as where each host holds some of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from hvdtrain.data.partitions._partition import Parts, PartsConfig, count_parts
from hvdtrain.errors import DataError

if TYPE_CHECKING:
    from hvdtrain.data.prepared import Dataset


class Config(PartsConfig):
    """Whole files or shards; depends on the number of workers, unless `parts` is set."""

    name: Literal["shard"] = "shard"


def build(config: Config, dataset: Dataset, seed: int, workers: int) -> Parts:
    """Return parts of whole shards, balanced greedily: the largest shard first, each to the part that is smallest yet.

    The largest part is then at most 4/3 - 1/(3 parts) times what the best division has (Graham 1969, "Bounds on
    multiprocessing timing anomalies"). What it is above the average is time that the other workers wait.

    Raises:
        RecipeError: `parts` is no multiple of the workers.
        DataError: the samples come from no shards, or from fewer than there are parts.
    """
    import numpy as np

    parts = count_parts(config, dataset, workers)
    if dataset.shards is None:
        raise DataError(
            "data.partition = shard: it deals whole files, and the samples of these data don't say which file they "
            "are from; use partition {name: contiguous} or {name: random}"
        )
    _, shard_of, sizes = np.unique(dataset.shards, return_inverse=True, return_counts=True)
    if len(sizes) < parts:
        files = "1 file or shard" if len(sizes) == 1 else f"{len(sizes)} files or shards"
        whose = ", one for each worker" if config.parts is None else " (data.partition.parts)"
        raise DataError(
            f"data.partition = shard: the training samples are from {files}, and there are {parts} parts to fill"
            f"{whose}; use at most {len(sizes)}, give more files, or use partition {{name: contiguous}}"
        )
    filled = [0] * parts
    part_of = np.empty(len(sizes), dtype=np.int64)
    for shard in np.argsort(-sizes, kind="stable").tolist():
        smallest = filled.index(min(filled))
        part_of[shard] = smallest
        filled[smallest] += int(sizes[shard])
    owners = part_of[shard_of.reshape(-1)]
    return Parts(tuple(np.flatnonzero(owners == part) for part in range(parts)), seed)
