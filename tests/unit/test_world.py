from __future__ import annotations

import torch

from hvdtrain.world import Detached, Solo


class Fourth(Solo):
    """A worker's view of a world of four."""

    rank, size, local_rank, local_size = 3, 4, 1, 2


def test_workers_that_do_not_talk_keep_their_places_and_stand_for_all() -> None:
    world = Detached(Fourth())
    assert (world.rank, world.size, world.local_rank, world.local_size) == (3, 4, 1, 2)
    assert world.gather({"a": 1}) == [{"a": 1}] * 4
    pending = world.start_sum(torch.tensor([1.0, 2.0]), "x")
    assert pending.done()
    assert pending.wait().tolist() == [4.0, 8.0]
    weights = {"w": torch.ones(2)}
    world.broadcast_(weights)
    assert weights["w"].tolist() == [1.0, 1.0]
