"""Adasum of updates, a parameter at a time."""

from __future__ import annotations

import torch

from hvdtrain.sync._apart import Apart
from hvdtrain.sync._strategy import NamedParameters, apply
from hvdtrain.world import World, finish, guard


class AdaSum(Apart):
    """Each worker updates by its own gradient; what that changed is combined by Adasum, and done by all instead.

    So it fits any optimizer: of Adam it is the step that is combined, not the gradient.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, named_parameters: NamedParameters, world: World) -> None:
        super().__init__("adasum", optimizer, named_parameters, world)
        self._names = [f"adasum.{name}" for name, _ in named_parameters]
        self._values = [p.detach() for _, p in named_parameters]
        self._before = [torch.empty_like(values) for values in self._values]
        self.bytes_per_step = float(sum(values.numel() * values.element_size() for values in self._values))

    def step(self, scaler: torch.amp.GradScaler | None) -> None:
        torch._foreach_copy_(self._before, self._values)
        apply(self.optimizer, scaler)

    def discard(self) -> None:
        """This worker has no change to combine with the others'."""
        torch._foreach_copy_(self._before, self._values)
        self.zero_grad()

    def publish(self) -> None:
        torch._foreach_sub_(self._values, self._before)
        self._combine()
        torch._foreach_add_(self._values, self._before)

    def _combine(self) -> None:
        """Turn the parameters, which are each worker's change for now, into the Adasum of all workers' changes."""
        import horovod.torch as hvd

        handles = guard(
            lambda: [
                hvd.allreduce_async_(change, name=name, op=hvd.Adasum)
                for change, name in zip(self._values, self._names, strict=True)
            ],
            self._names[0],
        )
        for handle, name in zip(handles, self._names, strict=True):
            finish(handle, name)
