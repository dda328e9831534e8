"""Strategies where each element of the parameters has one owner, the only one who keeps optimizer state for it.

An owner has a contiguous stretch of the flat buffers of values and gradients: its shard.

Shapes: L elements of all parameters together; S of this worker's shard, 0 for one that owns nothing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from hvdtrain.sync._flat import FlatBuffers, load_pieces, piece_state
from hvdtrain.sync._strategy import Replicated, apply
from hvdtrain.world import World


class Sharded(Replicated, ABC):
    """Base of those strategies. Between `synchronize` and `step` the gradients are the shard's."""

    publishes = True

    def __init__(self, optimizer: torch.optim.Optimizer, world: World, sizes: Sequence[int], passes: int) -> None:
        """Take over an optimizer without state.

        Args:
            sizes: elements of each worker's shard, by rank; together at least as many as the optimizer's parameters
                have, whose end is filled up with elements that nobody reads.
            passes: backward passes of an update.
        """
        self.world = world
        self.optimizer = optimizer
        self.buffers = FlatBuffers(optimizer, passes, sum(sizes))
        self.flat, self.flat_grad = self.buffers.values, self.buffers.gradients
        self.sizes, self._start = list(sizes), sum(sizes[: world.rank])
        self.shard = self.flat[self._start : self._start + sizes[world.rank]]
        self.shard_grad = torch.zeros_like(self.shard)
        self.parameters = self._own_parts()

    def _own_parts(self) -> list[torch.nn.Parameter]:
        """Let each of the optimizer's groups hold the part of the shard that is its own, which may be nothing."""
        parts = []
        for group, bounds in zip(self.optimizer.param_groups, self.buffers.group_bounds(), strict=True):
            low, high = (min(max(edge - self._start, 0), len(self.shard)) for edge in bounds)
            part = torch.nn.Parameter(self.shard[low:high])
            part.grad = self.shard_grad[low:high]
            group["params"] = [part] if high > low else []
            parts += group["params"]
        return parts

    @abstractmethod
    def reduce(self) -> None:
        """Make `shard_grad` the sum over all workers of their `flat_grad`, at the shard; all call it together."""

    @abstractmethod
    def publish(self) -> None:
        """Make `flat` the shards of all owners on every worker that trains; all call it together."""

    def synchronize(self) -> None:
        self.buffers.complete()
        self.reduce()

    def total_norm(self, gradients: Sequence[Tensor]) -> Tensor:
        """Return the square root of the sum of the shards' squares over all workers."""
        own = torch.nn.utils.get_total_norm(gradients) if gradients else self.flat.new_zeros(())
        own = own.double()
        squares = self.world.start_sum((own * own).reshape(1), "shards.norm").wait()
        return squares.sqrt().to(self.flat.dtype).squeeze(0)

    def step(self, scaler: torch.amp.GradScaler | None) -> None:
        if self.parameters:
            apply(self.optimizer, scaler)

    def zero_grad(self) -> None:
        """Nothing is to do: the next gradients take the place of these."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state of all shards together, as an optimizer of the whole parameters would have it."""
        mine, own = piece_state(self.optimizer, self.parameters)
        everyone = self.world.gather([mine, list(own)])
        scalars: dict[str, float] = next((found for found, _ in everyone if found), {})
        vectors = {}
        for key in next((found for _, found in everyone if found), []):
            part = own.get(key, self.shard[:0])
            filled = torch.cat([part, part.new_zeros(len(self.shard) - len(part))])
            vectors[key] = self.world.concatenate(filled, f"state.{key}")
        whole: dict[str, Any] = self.buffers.state_dict(self.optimizer.param_groups, scalars, vectors)
        return whole

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Keep what belongs to the shard; the parameters may have been changed too, on all workers alike."""
        scalars, vectors = self.buffers.split_state(state["state"])
        load_pieces(self.optimizer, self.parameters, self._start, state["param_groups"], scalars, vectors)

    def state_bytes(self) -> int:
        """Return the bytes of optimizer state that this worker keeps."""
        kept = (value for state in self.optimizer.state.values() for value in state.values())
        return sum(value.numel() * value.element_size() for value in kept if isinstance(value, Tensor))
