"""gradients.py through a parameter server whose chunks are small, with every collective counted.

The options of a case: those of the strategy's Config.
"""

from __future__ import annotations

from unittest import mock

import horovod.torch as hvd
import torch
from cases import Case, run
from gradients import PASSES, STEPS, updates_agree

from hvdtrain import world as worlds
from hvdtrain.sync import _parameter_server
from hvdtrain.train.loop import Loop

CHUNK = 37
alltoall_async, synchronize = hvd.alltoall_async, hvd.synchronize
allreduce_async_, backward = hvd.allreduce_async_, torch.autograd.backward


class Counts:
    """What goes through the engine's door, and how often gradients are computed, while it is entered."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.sent: list[int] = []
        self.received: list[int] = []
        self.summed: list[int] = []
        self.backwards = 0

    def alltoall(self, tensor, splits, name):
        with self.case.check():
            assert len(splits) == hvd.size()
            assert splits[hvd.rank()] == 0, "what a server hands itself needs no engine"
            assert sum(splits) == len(tensor)
        self.sent.append(len(tensor))
        return alltoall_async(tensor, splits, name=name)

    def synchronize(self, handle):
        result = synchronize(handle)
        if isinstance(result, tuple):
            self.received.append(len(result[0]))
        return result

    def allreduce(self, tensor, **options):
        self.summed.append(tensor.numel())
        return allreduce_async_(tensor, **options)

    def backward(self, *arguments, **options):
        self.backwards += 1
        return backward(*arguments, **options)

    def watching(self):
        return mock.patch.multiple(
            hvd,
            alltoall_async=self.alltoall,
            synchronize=self.synchronize,
            allreduce_async_=self.allreduce,
            reducescatter_async=refused,
            allgather_async=refused,
            allgather=refused,
            broadcast_async_=refused,
        )


def refused(*arguments, **options):
    raise AssertionError("a collective that is no business of a parameter server")


def point_to_point(case: Case, options: dict, world: worlds.World) -> None:
    counts = Counts(case)
    with counts.watching(), mock.patch.object(torch.autograd, "backward", counts.backward):
        loop = updates_agree(case, {"name": "parameter_server"} | options, 1e-6, world)
    with case.check():
        assert_moved(counts, loop, options.get("servers", 1), options.get("placement") == "dedicated")


def assert_moved(counts: Counts, loop: Loop, servers: int, dedicated: bool) -> None:
    world, strategy = loop.world, loop.phases[0].strategy
    elements = sum(p.numel() for p in loop.model.parameters())
    share = -(-elements // servers)
    training = world.size - servers if dedicated else world.size
    trains = world.rank < training
    serves = world.rank >= training if dedicated else world.rank < servers
    assert share > CHUNK, "several chunks, or this shows nothing"

    peers = training - (trains and serves)
    asked = servers - serves if trains else 0
    # Dedicated servers get each other's parameters where the run's result is looked at, which gradients.py does each
    # step.
    among_servers = servers - 1 if dedicated and serves else 0
    moved = STEPS * share * (asked + (peers + among_servers if serves else 0))
    assert sum(counts.sent) == moved
    assert sum(counts.received) == moved
    assert max(counts.received) <= CHUNK * world.size
    assert max(counts.summed) <= 4, "gradients and parameters must not be all-reduced"
    assert strategy.server_bytes_per_step == (4 * share * (training - (not dedicated)),) * 2
    assert strategy.bytes_per_step == 4 * 2 * servers * share * (training - (not dedicated)) / training

    momentum = 4 * min(share, max(0, elements - share * (world.rank - training if dedicated else world.rank)))
    assert strategy.state_bytes() == (momentum if serves else 0)
    assert counts.backwards == STEPS * (1 + (PASSES if trains else 0)), "the reference, and the loop's passes"


if __name__ == "__main__":
    _parameter_server._CHUNK = CHUNK
    joined = worlds.start({"HOROVOD_CYCLE_TIME": "1"})
    run(joined, lambda case, options: point_to_point(case, options, joined))
