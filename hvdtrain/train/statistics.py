"""Running statistics of a model, such as BatchNorm's: each worker's are of its own samples, all evaluate their mean."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from hvdtrain.world import World


class RunningStatistics:
    """The floating-point buffers of a model on this worker, of which the first `training` workers' count."""

    def __init__(self, model: torch.nn.Module, world: World, training: int) -> None:
        self._model, self._world, self._training = model, world, training
        self._kept: dict[str, torch.Tensor] = {}

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Let the model have the mean of the workers' statistics; after it each worker's are what they were, so that it
        does not matter when a run evaluates or saves. All workers enter it together.

        Where BatchNorm is synchronised they are alike.
        """
        buffers = self._buffers()
        if self._world.size == 1 or not buffers:
            yield
            return
        counts = 1.0 if self._world.rank < self._training else 0.0
        sums = [self._world.start_sum(b.double() * counts, f"buffer.{name}") for name, b in buffers.items()]
        self._kept = {name: buffer.clone() for name, buffer in buffers.items()}
        for buffer, pending in zip(buffers.values(), sums, strict=True):
            buffer.copy_(pending.wait() / self._training)
        try:
            yield
        finally:
            for name, buffer in buffers.items():
                buffer.copy_(self._kept[name])
            self._kept = {}

    def own_state(self) -> dict[str, torch.Tensor]:
        """Return this worker's own, in the context of `averaged` too; one worker's are the model's."""
        return {} if self._world.size == 1 else self._buffers() | self._kept

    def load_own_state(self, rows: Mapping[str, torch.Tensor]) -> None:
        """Take over what `own_state` gave on as many workers, stacked; another number of them keeps what the model
        has.
        """
        for name, buffer in self._buffers().items():
            own = rows.get(name)
            if own is not None and len(own) == self._world.size:
                buffer.copy_(own[self._world.rank])

    def _buffers(self) -> dict[str, torch.Tensor]:
        saved = self._model.state_dict().keys()
        return {name: b for name, b in self._model.named_buffers() if b.is_floating_point() and name in saved}
