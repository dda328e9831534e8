"""Largest entries of gradient and residual, gathered from all workers and added up.

Positions differ from worker to worker, so that an all-reduce can't add them: every worker receives the entries of all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from hvdtrain.errors import SetupError
from hvdtrain.sync._compression import Compressed
from hvdtrain.world import World

_SMALL = 2048
"""Elements of a tensor that is worth choosing from: gains and biases are below, and a model has few of them."""


def counts(parameters: Sequence[Tensor], density: float) -> list[int]:
    """Return for each parameter how many entries of its gradient travel, 0 for one that travels as it is."""
    found = []
    for p in parameters:
        entries = math.ceil(density * p.numel())
        smaller = entries * (p.element_size() + 4) < p.numel() * p.element_size()
        found.append(entries if smaller and p.numel() >= _SMALL else 0)
    return found


class TopK(Compressed):
    """An all-gather of entries, and beside it an all-reduce of what travels as it is."""

    def __init__(
        self,
        optimizer: Any,
        parameters: Sequence[torch.nn.Parameter],
        world: World,
        *,
        counts: Sequence[int],
        start_step: int = 0,
    ) -> None:
        """See `counts` for the counts.

        Raises:
            SetupError: there are too many elements for positions of four bytes.
        """
        super().__init__(optimizer, parameters, world, name="topk", start_step=start_step)
        if len(self.residual) >= 2**31:
            raise SetupError(
                "sync.name = topk: positions of 2^31 parameters and more don't fit; use sync.name=powersgd"
            )
        self._whole = [index for index, count in enumerate(counts) if not count]
        starts = accumulate((p.numel() for p in parameters), initial=0)
        self._sparse = [
            (residual.flatten(), start, count)
            for residual, start, count in zip(self.residuals, starts, counts, strict=False)
            if count
        ]

    def exchange(self) -> None:
        self.flat_grad.zero_()
        whole, handles = [self.residuals[index].flatten() for index in self._whole], []
        if whole:
            handles.append(self.start_sum(torch.cat(whole), "whole"))
        if self._sparse:
            values, positions = self._take()
            handles.append(self.start_gather(torch.cat([values.view(torch.int32), positions]), "entries"))
        results = [self.wait(handle) for handle in handles]
        if self._sparse:
            self._add(results.pop())
        if whole:
            parts = torch.split_with_sizes(results[0], [len(part) for part in whole])
            for index, mine, summed in zip(self._whole, whole, parts, strict=True):
                mine.zero_()
                self.grads[index].copy_(summed.view(self.grads[index].shape))

    def _take(self) -> tuple[Tensor, Tensor]:
        """Take the largest entries out of the residual; return their values and their positions in it, (K,) each."""
        chosen = [start + torch.topk(part.abs(), count, sorted=False).indices for part, start, count in self._sparse]
        positions = torch.cat(chosen)
        values = self.residual[positions]
        self.residual[positions] = 0.0
        return values, positions.to(torch.int32)

    def _add(self, gathered: Tensor) -> None:
        """Add every worker's entries, one worker after the other: sums in the same order are the same everywhere."""
        for mine in gathered.chunk(self.world.size):
            count = sum(count for _, _, count in self._sparse)
            values, positions = mine[: len(mine) - count], mine[len(mine) - count :]
            self.flat_grad.index_add_(0, positions, values.view(self.flat_grad.dtype))
