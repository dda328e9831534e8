"""Push and pull between workers and parameter servers, by Horovod's all-to-all with uneven splits.

An all-to-all sends from each rank to each other what its splits say, directly and nothing else: in a push only workers
send, to servers only; in a pull only servers send.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from hvdtrain.sync._shards import Sharded
from hvdtrain.world import World, finish, guard

_CHUNK = 1 << 22
"""Elements of each server's shard that travel at once: 16 MiB of float32 a worker, so that a message takes much longer
than the engine's cycle does on any but the fastest links."""
_IN_FLIGHT = 2
"""Chunks under way: while the engine moves one, this thread sums, or copies, the one before."""


class ParameterServer(Sharded):
    """The owners are the servers; the workers are the ranks below `workers`, servers among them or not.

    A server sums the workers' gradients in the order of their ranks, whatever arrives first, so that a repeated run
    gives the same sums to the last bit.

    Memory, beside parameters and gradients (with W workers, a shard of S elements, chunks of C = min(S, 4 Mi)): a
    server receives at most 2 C from each worker at a time, and sends as much: 2 W C elements, not W S. It also keeps
    the sum (S) and the only optimizer state. A worker has no state, and buffers of at most 2 C for each server.

    Attributes:
        bytes_per_step: what goes through the engine in an update, pushes and pulls of all, divided by the workers: with
            dedicated servers twice the gradient's bytes. What a colocated server hands itself does not go through it.
        server_bytes_per_step: what the link of the server with the most traffic carries in and out in an update: a
            push from and a pull by each worker other than itself.
    """

    def __init__(
        self, optimizer: torch.optim.Optimizer, world: World, servers: range, workers: int, passes: int
    ) -> None:
        elements = sum(p.numel() for group in optimizer.param_groups for p in group["params"])
        self._share = -(-elements // len(servers))
        sizes = [self._share if rank in servers else 0 for rank in range(world.size)]
        super().__init__(optimizer, world, sizes, passes)
        self._servers, self._workers = servers, range(workers)
        self._starts = {rank: index * self._share for index, rank in enumerate(servers)}
        self._serves, self._trains = world.rank in servers, world.rank in self._workers
        self._name = f"parameter_server.{elements}"
        width = self.flat.element_size()
        remote = {server: sum(worker != server for worker in self._workers) for server in servers}
        both_ways = 2 * sum(remote.values()) * self._share * width
        self.bytes_per_step = both_ways / workers
        busiest = float(max(remote.values()) * self._share * width)
        self.server_bytes_per_step = (busiest, busiest)

    def reduce(self) -> None:
        """Push: each worker sends each server its stretch of the gradient, and the servers sum."""
        for begin, received in self._exchange("push", self._pushed):
            if self._serves:
                self._sum(begin, received)

    def publish(self) -> None:
        """Pull: each server sends each worker its parameters."""
        self._pull(self._workers)

    @contextmanager
    def agreed(self) -> Iterator[None]:
        """Let dedicated servers have each other's parameters too; training never needs them there."""
        if len(self._servers) > 1 and self._servers[0] not in self._workers:
            self._pull(self._servers)
        yield

    def synchronize(self) -> None:
        # A dedicated server has no gradients of its own: the buffer that it never touches takes no memory.
        if self._trains:
            self.buffers.complete()
        self.reduce()

    def _exchange(self, what: str, give: Callable[[int], tuple[Tensor, list[int]]]) -> Iterator[tuple[int, Tensor]]:
        """Send, chunk by chunk, what `give` gives for the chunk that begins at an element of every shard: a tensor with
        the elements for each rank. Yield what came: the stretches from each rank, one behind the other.
        """
        import horovod.torch as hvd

        flight: deque[tuple[int, int]] = deque()
        for begin in range(0, self._share, _CHUNK):
            if len(flight) == _IN_FLIGHT:
                yield self._arrived(*flight.popleft())
            tensor, splits = give(begin)
            handle = guard(
                lambda tensor=tensor, splits=splits, begin=begin: hvd.alltoall_async(  # type: ignore[misc]
                    tensor, splits, name=f"{self._name}.{what}.{begin}"
                ),
                what,
            )
            flight.append((begin, handle))
        while flight:
            yield self._arrived(*flight.popleft())

    def _arrived(self, begin: int, handle: int) -> tuple[int, Tensor]:
        received: Tensor = finish(handle, f"{self._name}.{begin}")[0]
        return begin, received

    def _pushed(self, begin: int) -> tuple[Tensor, list[int]]:
        splits, parts = [0] * self.world.size, [self.flat_grad[:0]]
        for server in self._servers if self._trains else ():
            if server != self.world.rank:
                parts.append(self._stretch(self.flat_grad, server, begin))
                splits[server] = len(parts[-1])
        return (parts[1] if len(parts) == 2 else torch.cat(parts)), splits

    def _sum(self, begin: int, received: Tensor) -> None:
        """Add what the workers sent, and this one's own, in the order of ranks."""
        total = self.shard_grad[begin : begin + _CHUNK]
        others = iter(torch.split(received, len(total)))
        for worker in self._workers:
            own = worker == self.world.rank
            gradient = self._stretch(self.flat_grad, worker, begin) if own else next(others)
            if worker == self._workers[0]:
                total.copy_(gradient)
            else:
                total.add_(gradient)

    def _pull(self, receivers: range) -> None:
        for begin, received in self._exchange("pull", lambda begin: self._published(begin, receivers)):
            if self.world.rank not in receivers:
                continue
            parts = iter(torch.split(received, min(_CHUNK, self._share - begin)))
            for server in self._servers:
                if server != self.world.rank:
                    self._stretch(self.flat, server, begin).copy_(next(parts))

    def _published(self, begin: int, receivers: range) -> tuple[Tensor, list[int]]:
        splits = [0] * self.world.size
        if not self._serves:
            return self.flat[:0], splits
        mine, others = self.shard[begin : begin + _CHUNK], [rank for rank in receivers if rank != self.world.rank]
        for rank in others:
            splits[rank] = len(mine)
        return mine.repeat(len(others)), splits

    def _stretch(self, flat: Tensor, server: int, begin: int) -> Tensor:
        """Return a server's part of a flat buffer, from an element of its shard on, a chunk long at most."""
        start = self._starts[server]
        return flat[start + begin : start + min(begin + _CHUNK, self._share)]
