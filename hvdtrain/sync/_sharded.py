"""ZeRO, stage 1, by Horovod's reduce-scatter and all-gather."""

from __future__ import annotations

import torch

from hvdtrain.sync._shards import Sharded
from hvdtrain.world import World, finish, guard


class ReduceScatter(Sharded):
    """Every worker owns 1 / n of the parameters, rounded up."""

    def __init__(self, optimizer: torch.optim.Optimizer, world: World, passes: int) -> None:
        elements = sum(p.numel() for group in optimizer.param_groups for p in group["params"])
        super().__init__(optimizer, world, [-(-elements // world.size)] * world.size, passes)
        # Each of the two collectives moves half of what an all-reduce of as many bytes does.
        self.bytes_per_step = float(elements * self.flat.element_size())
        # The strategies of a task's phases have other shapes, under one name the engine would forget what it knows.
        self._name = f"sharded.{elements}"

    def reduce(self) -> None:
        import horovod.torch as hvd

        name = f"{self._name}.gradients"
        handle = guard(lambda: hvd.reducescatter_async(self.flat_grad, name=name, op=hvd.Sum), name)
        self.shard_grad.copy_(finish(handle, name))

    def publish(self) -> None:
        import horovod.torch as hvd

        name = f"{self._name}.parameters"
        self.flat.copy_(finish(guard(lambda: hvd.allgather_async(self.shard, name=name), name), name))
