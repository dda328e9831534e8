"""Each worker's micro batches of one global batch after another; the place in the order of samples is the state."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from hvdtrain.data._dealing import Dealing, make_dealing
from hvdtrain.errors import CheckpointError
from hvdtrain.registry import RegisteredConfig

if TYPE_CHECKING:
    from hvdtrain.data.prepared import Dataset

    Batch = dict[str, torch.Tensor]


class Loader:
    """One worker's share of what is dealt: its samples of a global batch, cut into micro batches.

    A worker may get fewer micro batches than others, a shorter one, or none: the last batch of a run is ragged, and so
    are those of parts of unequal size.
    """

    def __init__(
        self,
        dataset: Dataset,
        dealing: Dealing,
        *,
        identity: Mapping[str, Any],
        micro_batch_size: int,
        rank: int,
        numbered: bool,
    ) -> None:
        """`identity` holds, as JSON values, what a state has to agree with; see `make_loader` for the others."""
        self.position = 0
        """Samples dealt out so far, to all workers together."""
        self.sample_ids = np.empty(0, dtype=np.int64)
        """Indices, into the data set, of this worker's samples of the last global batch."""
        self.total_steps = dealing.steps_left(0)
        """Global batches of all epochs, or None where there is no end."""
        self._dataset, self._dealing = dataset, dealing
        self._identity = {**identity, **dealing.identity}
        self._micro_batch_size, self._rank, self._numbered = micro_batch_size, rank, numbered

    def __iter__(self) -> Iterator[list[Batch]]:
        return self

    def __next__(self) -> list[Batch]:
        """Return this worker's micro batches of the next global batch: up to `global / (micro x size)` of them."""
        dealt = self._dealing.batch(self.position)
        if dealt is None:
            raise StopIteration
        own = np.flatnonzero(dealt.workers == self._rank)
        self.sample_ids = dealt.samples[own]
        numbers = self.position + own
        self.position += len(dealt.samples)
        step = self._micro_batch_size
        pieces = [slice(begin, begin + step) for begin in range(0, len(own), step)]
        return [_batch(self._dataset, self.sample_ids[p], numbers[p] if self._numbered else None) for p in pieces]

    def steps_left(self) -> int | None:
        """Return the number of global batches that are still to come, or None where there is no end."""
        return self._dealing.steps_left(self.position)

    def state_dict(self) -> dict[str, Any]:
        """Return where the loader stands, as JSON values; unless the partition is into parts, it is good for any number
        of workers and any batch size."""
        return {"position": self.position} | self._identity

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state.

        Raises:
            CheckpointError: it is of another data set, seed or partition, or of another number of parts or global batch
                where the order depends on these: its place in the order means nothing here.
        """
        for name, own in self._identity.items():
            if state.get(name) != own:
                raise CheckpointError(_difference(name, state.get(name), own))
        position = state["position"]
        if not isinstance(position, int) or not 0 <= position < 2**62:
            raise CheckpointError(f"the checkpoint's place in the order of samples is {str(position)[:60]!r}")
        self.position = position


def _difference(name: str, before: Any, now: Any) -> str:
    if name == "parts":
        return (
            f"the checkpoint's data was cut into {before} parts and is cut into {now} now, one for each worker: its "
            f"partition depends on their number; resume with {before} workers, or with data.partition.parts={before}, "
            "or start anew with --resume never"
        )
    same = "batch" if name == "global_batch_size" else "data, seed and partition"
    return (
        f"the checkpoint's data is another: {name} was {before} and is {now} now; resume with the {same} of the "
        "checkpoint, or start anew with --resume never"
    )


def make_loader(
    dataset: Dataset,
    partition_config: RegisteredConfig,
    *,
    seed: int,
    global_batch_size: int,
    micro_batch_size: int,
    rank: int,
    size: int,
    epochs: int | None,
    numbered: bool = False,
) -> Loader:
    """Return the loader of worker `rank` of `size`.

    Args:
        epochs: after so many there are no more batches; None: they never end.
        numbered: whether batches hold `number` (B,) int64, the place of each sample among all that were dealt in the
            run, to all workers: what n workers get is what one gets, the numbers of the samples included.

    Raises:
        UserError: the partition can't be made of these data, or not for so many workers, or not with that batch.
    """
    described = partition_config.model_dump(mode="json")
    described.pop("parts", None)  # how many there are is part of the dealing's identity, wherever it comes from
    return Loader(
        dataset,
        make_dealing(
            dataset, partition_config, seed=seed, global_batch_size=global_batch_size, size=size, epochs=epochs
        ),
        identity={"seed": seed, "samples": len(dataset), "partition": described},
        micro_batch_size=micro_batch_size,
        rank=rank,
        numbered=numbered,
    )


def evaluation_batches(
    dataset: Dataset, rank: int, size: int, batch_size: int, limit: int | None, numbered: bool = False
) -> Iterator[Batch]:
    """Yield one worker's batches of a data set, or of `limit` samples of it; all workers together see each once.

    Those are evenly chosen, as the data may be sorted: sample i of `limit` is floor(i N / limit). With `numbered`,
    batches hold `number` (B,) int64, which is i, the same for any number of workers.
    """
    count = len(dataset) if limit is None else min(limit, len(dataset))
    own = np.arange(rank, count, size)
    for begin in range(0, len(own), batch_size):
        numbers = own[begin : begin + batch_size]
        yield _batch(dataset, numbers * len(dataset) // count, numbers if numbered else None)


def _batch(dataset: Dataset, samples: np.ndarray, numbers: np.ndarray | None) -> Batch:
    batch = dataset.batch(samples)
    return batch if numbers is None else batch | {"number": torch.from_numpy(numbers)}
