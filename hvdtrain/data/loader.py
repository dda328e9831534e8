"""Dealing samples out to workers in a global order that the seed alone determines; the place in it is the state."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from hvdtrain.errors import CheckpointError
from hvdtrain.registry import RegisteredConfig, find

if TYPE_CHECKING:
    import torch

    from hvdtrain.data.sequences import SequenceDataset

    Batch = dict[str, torch.Tensor]


class Loader:
    """One worker's micro batches of one global batch after another.

    With N samples in the data set, global sample k is sample `order(epoch)[k % N]` of epoch `k // N`. Worker r of n
    takes the samples r, r + n, r + 2n, ... of a global batch, and cuts them into micro batches. So every sample of an
    epoch is dealt exactly once, a global batch may span epochs, and it does not depend on the number of workers.

    With `total_samples` the last global batch is ragged: a worker may get fewer micro batches, a shorter one, or none.
    """

    def __init__(
        self,
        dataset: SequenceDataset,
        partition_config: RegisteredConfig,
        *,
        seed: int,
        global_batch_size: int,
        micro_batch_size: int,
        rank: int,
        size: int,
        total_samples: int | None = None,
    ) -> None:
        self.position = 0
        """Samples dealt out so far, to all workers together."""
        self.sample_ids = np.empty(0, dtype=np.int64)
        """Indices, into the data set, of this worker's samples of the last global batch."""
        self._dataset = dataset
        self._partition = find("partitions", partition_config.name).build(partition_config, len(dataset), seed)
        self._identity = {"seed": seed, "samples": len(dataset), "partition": partition_config.model_dump(mode="json")}
        self._global_batch_size = global_batch_size
        self._micro_batch_size = micro_batch_size
        self._rank, self._size = rank, size
        self._total = total_samples
        self._epoch = -1
        self._order = np.empty(0, dtype=np.int64)

    def __iter__(self) -> Iterator[list[Batch]]:
        return self

    def __next__(self) -> list[Batch]:
        """Return this worker's micro batches of the next global batch: up to `global / (micro x size)` of them."""
        end = self.position + self._global_batch_size
        if self._total is not None:
            end = min(end, self._total)
        if end <= self.position:
            raise StopIteration
        self.sample_ids = self._samples(np.arange(self.position + self._rank, end, self._size))
        self.position = end
        step = self._micro_batch_size
        return [self._dataset.batch(self.sample_ids[i : i + step]) for i in range(0, len(self.sample_ids), step)]

    def state_dict(self) -> dict[str, Any]:
        """Return where the loader stands, as JSON values; good for any number of workers and any batch size."""
        return {"position": self.position} | self._identity

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state.

        Raises:
            CheckpointError: it is of another data set, seed or partition: its place in the order means nothing here.
        """
        for name, own in self._identity.items():
            if state.get(name) != own:
                raise CheckpointError(
                    f"the checkpoint's data is another: {name} was {state.get(name)} and is {own} now; resume with the "
                    "data, seed and partition of the checkpoint, or start anew with --resume never"
                )
        self.position = int(state["position"])

    def _samples(self, numbers: np.ndarray) -> np.ndarray:
        """Return the indices of global samples, given by ascending numbers."""
        found = np.empty_like(numbers)
        epochs, places = np.divmod(numbers, len(self._dataset))
        for epoch in np.unique(epochs).tolist():
            here = epochs == epoch
            found[here] = self._order_of(epoch)[places[here]]
        return found

    def _order_of(self, epoch: int) -> np.ndarray:
        if epoch != self._epoch:
            self._epoch, self._order = epoch, self._partition.order(epoch)
        return self._order


def shard(dataset: SequenceDataset, rank: int, size: int, batch_size: int, limit: int | None = None) -> Iterator[Batch]:
    """Yield one worker's batches of a data set, or of its first `limit` samples; all workers together see each once."""
    count = len(dataset) if limit is None else min(limit, len(dataset))
    mine = np.arange(rank, count, size)
    for begin in range(0, len(mine), batch_size):
        yield dataset.batch(mine[begin : begin + batch_size])
