"""Every collective of `hvdtrain.world`, checked by each worker against what it must be."""

from __future__ import annotations

import pytest
import torch

from hvdtrain import world as worlds
from hvdtrain.errors import DataError, UserError

world = worlds.start({"HOROVOD_CYCLE_TIME": "1"})
ranks = range(world.size)

assert world.gather({"rank": world.rank, "text": "ü" * world.rank}) == [{"rank": r, "text": "ü" * r} for r in ranks]
assert world.gather(None) == [None] * world.size
whole = world.start_sum(torch.tensor([1.0, world.rank, 2.0**40 + 1], dtype=torch.float64), "sum").wait()
assert whole.tolist() == [world.size, sum(ranks), world.size * (2.0**40 + 1)]

rows = world.concatenate(torch.full((world.rank, 2), float(world.rank), dtype=torch.float64), "rows")
assert rows.tolist() == [[float(r)] * 2 for r in ranks for _ in range(r)]
assert world.concatenate(torch.empty(0, 3), "nothing").shape == (0, 3)

mine = torch.full((3,), float(world.rank))
world.broadcast_({"mine": mine})
assert mine.tolist() == [0.0, 0.0, 0.0]

tensors = {"a": torch.arange(6.0).view(2, 3), "scalar": torch.tensor(7.0), "ids": torch.tensor([1, 2])}
received = worlds.broadcast_tensors(world, tensors if world.rank == 0 else None)
assert received.keys() == tensors.keys()
assert all(
    torch.equal(received[name], tensor) and received[name].dtype == tensor.dtype for name, tensor in tensors.items()
)

assert worlds.together(world, lambda: world.rank) == world.rank


def fails_on_last() -> None:
    if world.rank == world.size - 1:
        raise DataError("file gone")


with pytest.raises(UserError, match=f"worker {world.size - 1} on .*: file gone"):
    worlds.together(world, fails_on_last)


def fails_alike() -> None:
    raise DataError("missing")


with pytest.raises(DataError, match="^missing$"):
    worlds.together(world, fails_alike)

print(f"collectives hold on worker {world.rank} of {world.size}")
world.close()
