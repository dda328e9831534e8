"""Running statistics of a model, such as BatchNorm's: each worker's are of its own samples, all evaluate their mean."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from hvdtrain.sync._batchnorm import SyncBatchNorm

if TYPE_CHECKING:
    from hvdtrain.world import World

_APART = "apart."


class RunningStatistics:
    """The floating-point buffers of a model on this worker, of which the first `training` workers' count; those of a
    synchronised BatchNorm are alike on all, and left alone.
    """

    def __init__(self, model: torch.nn.Module, world: World, training: int) -> None:
        self._model, self._world, self._training = model, world, training
        self._kept: dict[str, torch.Tensor] = {}

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Let the model have the mean of the workers' statistics; after it each worker's are what they were, so that it
        does not matter when a run evaluates or saves. All workers enter it together.
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

    def own_state(self, synchronises: bool) -> dict[str, torch.Tensor]:
        """Return this worker's own, in the context of `averaged` too; one worker's are the model's. The names say
        whether the workers ever agree on a model, and how many train.
        """
        if self._world.size == 1:
            return {}
        return {self._key(synchronises) + name: b for name, b in (self._buffers() | self._kept).items()}

    def load_own_state(self, rows: Mapping[str, torch.Tensor], synchronises: bool) -> None:
        """Take over what `own_state` gave, stacked, where as many workers train in the same way; else those of the
        model that was agreed on, or of worker 0's where none was.
        """
        for name, buffer in self._buffers().items():
            mine, apart = rows.get(self._key(synchronises) + name), rows.get(_APART + name)
            if mine is not None and len(mine) == self._world.size:
                buffer.copy_(mine[self._world.rank])
            elif apart is not None:
                buffer.copy_(apart[0])

    def _key(self, synchronises: bool) -> str:
        return f"{self._training}." if synchronises else _APART

    def _buffers(self) -> dict[str, torch.Tensor]:
        alike = [f"{name}." for name, module in self._model.named_modules() if isinstance(module, SyncBatchNorm)]
        saved = self._model.state_dict().keys()
        return {
            name: buffer
            for name, buffer in self._model.named_buffers()
            if buffer.is_floating_point() and name in saved and not name.startswith(tuple(alike))
        }
