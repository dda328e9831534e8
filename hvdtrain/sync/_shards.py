"""Strategies where each element of the parameters has one owner, the only one who keeps optimizer state for it.

All parameters of a phase lie one behind the other in one flat buffer, and their gradients in another; an owner has a
contiguous stretch of both, its shard. Optimizers that treat each element by itself (SGD, Adam and their like) do to a
shard what they do to the whole.

Shapes: L elements of all parameters together; S of this worker's shard, 0 for one that owns nothing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor

from hvdtrain.errors import SetupError
from hvdtrain.sync._strategy import Replicated, apply
from hvdtrain.world import World


class Sharded(Replicated, ABC):
    """Base of those strategies. Between `synchronize` and `step` the gradients are the shard's; the model's parameters
    become views of the flat buffer, and their gradients are views of the other."""

    parameters: Sequence[torch.nn.Parameter]

    def __init__(self, optimizer: torch.optim.Optimizer, world: World, sizes: Sequence[int]) -> None:
        """Take over an optimizer without state.

        Args:
            sizes: elements of each worker's shard, by rank; together at least as many as the optimizer's parameters
                have, whose end is filled up with elements that nobody reads.
        """
        self.world = world
        self.optimizer = optimizer
        self._whole = [list(group["params"]) for group in optimizer.param_groups]
        every = [p for group in self._whole for p in group]
        if len({(p.dtype, p.device) for p in every}) > 1:
            raise SetupError("parameters of several types or devices can't be sharded: use sync.name=allreduce")
        self.sizes, self._start = list(sizes), sum(sizes[: world.rank])
        self.flat = torch.zeros(sum(sizes), dtype=every[0].dtype, device=every[0].device)
        self.flat_grad = torch.zeros_like(self.flat)
        for p, values, gradient in zip(every, self._views(self.flat), self._views(self.flat_grad), strict=True):
            values.copy_(p.detach())
            p.data, p.grad = values, gradient
        self._every = every
        self.shard = self.flat[self._start : self._start + sizes[world.rank]]
        self.shard_grad = torch.zeros_like(self.shard)
        self._own_groups()

    def _own_groups(self) -> None:
        """Let each of the optimizer's groups hold the part of the shard that is its own, which may be nothing."""
        ends = list(accumulate((sum(p.numel() for p in group) for group in self._whole), initial=0))
        parts = []
        for group, (begin, end) in zip(self.optimizer.param_groups, pairwise(ends), strict=True):
            low, high = (min(max(edge - self._start, 0), len(self.shard)) for edge in (begin, end))
            part = torch.nn.Parameter(self.shard[low:high])
            part.grad = self.shard_grad[low:high]
            group["params"] = [part] if high > low else []
            parts += group["params"]
        self.parameters = parts

    def _views(self, flat: Tensor) -> Iterator[Tensor]:
        """Yield the stretch of a flat buffer (L,) for each parameter, in its shape."""
        start = 0
        for p in (p for group in self._whole for p in group):
            yield flat[start : start + p.numel()].view(p.shape)
            start += p.numel()

    @abstractmethod
    def reduce(self) -> None:
        """Make `shard_grad` the sum over all workers of their `flat_grad`, at the shard; all call it together."""

    @abstractmethod
    def publish(self) -> None:
        """Make `flat` the shards of all owners on every worker; all call it together."""

    def synchronize(self) -> None:
        self.reduce()

    def total_norm(self, gradients: Sequence[Tensor]) -> Tensor:
        """Return the square root of the sum of the shards' squares over all workers."""
        own = torch.nn.utils.get_total_norm(gradients).double() if gradients else torch.zeros((), dtype=torch.float64)
        squares = self.world.start_sum((own * own).reshape(1), "shards.norm").wait()
        return squares.sqrt().to(self.flat.dtype).squeeze(0)

    def step(self, scaler: torch.amp.GradScaler | None) -> None:
        if self.parameters:
            apply(self.optimizer, scaler)
        self.publish()

    def zero_grad(self) -> None:
        self.flat_grad.zero_()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of all shards together, as an optimizer of the whole parameters would have it."""
        own = [self.optimizer.state.get(p, {}) for p in self.parameters]
        scalars = {key: float(value) for state in own for key, value in state.items() if not _elementwise(value)}
        vectors = sorted({key for state in own for key, value in state.items() if _elementwise(value)})
        everyone = self.world.gather([scalars, vectors])
        scalars = next((found for found, _ in everyone if found), {})
        vectors = next((found for _, found in everyone if found), [])
        count = sum(len(group) for group in self._whole)
        state: dict[int, dict[str, Any]] = {index: {} for index in range(count)} if scalars or vectors else {}
        for key in vectors:
            mine = torch.cat([values[key].flatten() for values in own]) if own else self.shard[:0]
            padded = torch.cat([mine, self.shard.new_zeros(len(self.shard) - len(mine))])
            flat = self.world.concatenate(padded, f"state.{key}")
            for index, view in enumerate(self._views(flat)):
                state[index][key] = view.clone()
        for values in state.values():
            values |= {key: torch.tensor(value) for key, value in scalars.items()}
        return {"state": state, "param_groups": self._group_numbers()}

    def _group_numbers(self) -> list[dict[str, Any]]:
        groups, first = [], 0
        for group, whole in zip(self.optimizer.param_groups, self._whole, strict=True):
            numbers = list(range(first, first + len(whole)))
            groups.append({key: value for key, value in group.items() if key != "params"} | {"params": numbers})
            first += len(whole)
        return groups

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Keep what belongs to the shard; the parameters may have been changed too, on all workers alike."""
        entries: dict[int, dict[str, Any]] = state["state"]
        for group, given in zip(self.optimizer.param_groups, state["param_groups"], strict=True):
            group.update({key: value for key, value in given.items() if key != "params"})
        own: list[dict[str, Any]] = [{} for _ in self.parameters]
        for key, sample in next(iter(entries.values()), {}).items():
            if not _elementwise(sample):
                for values in own:
                    values[key] = sample.clone() if isinstance(sample, Tensor) else sample
                continue
            flat = torch.zeros_like(self.flat)
            for index, view in enumerate(self._views(flat)):
                view.copy_(entries[index][key])
            mine = flat[self._start : self._start + len(self.shard)]
            start = 0
            for p, values in zip(self.parameters, own, strict=True):
                values[key] = mine[start : start + p.numel()].clone()
                start += p.numel()
        self.optimizer.state.clear()
        self.optimizer.state.update(dict(zip(self.parameters, own, strict=True)) if entries else {})

    def state_bytes(self) -> int:
        """Return the bytes of optimizer state that this worker keeps."""
        kept = (value for state in self.optimizer.state.values() for value in state.values())
        return sum(value.numel() * value.element_size() for value in kept if isinstance(value, Tensor))


def _elementwise(value: Any) -> bool:
    """Whether a value of an optimizer's state has an entry for each element of its parameter."""
    return isinstance(value, Tensor) and value.dim() > 0
