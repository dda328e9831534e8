"""What strategies share that send less than the gradient, and keep what they did not send for later (error feedback).

Each worker w has a gradient g_w, its share of the global one: their sum over workers is the gradient. It adds g_w to
its residual e_w, sends something that stands for part of the sum, and takes what it sent out of e_w again. So nothing
is lost: with s the sum of what all workers sent, after every update

    sum_w e_w(after) + s = sum_w (e_w(before) + g_w)

(Stich et al. 2018, https://arxiv.org/abs/1809.07599, algorithm 1; Karimireddy et al. 2019,
https://arxiv.org/abs/1901.09847).

Shapes: L elements of all parameters together, one behind the other in the order of their names.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from hvdtrain.errors import SetupError
from hvdtrain.sync._strategy import Replicated
from hvdtrain.world import World, finish, guard

_RESIDUAL, _UPDATES = "error_feedback", "compression_updates"


class Compressed(Replicated, ABC):
    """Base of those strategies: the residual, and updates that send everything before the first that does not."""

    parameters: Sequence[torch.nn.Parameter]
    feeds_back = True

    def __init__(
        self, optimizer: Any, parameters: Sequence[torch.nn.Parameter], world: World, *, name: str, start_step: int
    ) -> None:
        """Take over an optimizer; gradients become views of one buffer.

        Args:
            name: begins the names of the strategy's collectives.
            start_step: number of updates that send the gradient as it is.
        """
        super().__init__(optimizer, parameters)
        if len({(p.dtype, p.device) for p in parameters}) > 1:
            raise SetupError(
                f"parameters of several types or devices can't go with sync.name={name}: use adasum, or one worker"
            )
        self.world = world
        self.start_step = start_step
        self.updates = 0
        first = parameters[0]
        self.flat_grad = torch.zeros(sum(p.numel() for p in parameters), dtype=first.dtype, device=first.device)
        self.residual = torch.zeros_like(self.flat_grad)
        self.grads, self.residuals = self.views(self.flat_grad), self.views(self.residual)
        self.zero_grad()
        # The strategies of a task's phases have other shapes, under one name the engine would forget what it knows.
        self.name = f"{name}.{len(self.flat_grad)}"
        self._counted, self._handed = 0, 0

    def views(self, flat: Tensor) -> list[Tensor]:
        """Return the stretch of a buffer (L,) for each parameter, in its shape."""
        parts = torch.split_with_sizes(flat, [p.numel() for p in self.parameters])
        return [part.view(p.shape) for part, p in zip(parts, self.parameters, strict=True)]

    @abstractmethod
    def exchange(self) -> None:
        """Send what stands for `residual` (gradient included) and take it out of there; make `flat_grad` the sum of
        what all workers sent.
        """

    def synchronize(self) -> None:
        self._collect()
        handed = self._handed
        if self.updates < self.start_step:
            self.flat_grad.add_(self.residual)
            self.residual.zero_()
            self.wait(self.start_sum(self.flat_grad, "gradients"))
        else:
            self.residual.add_(self.flat_grad)
            self.exchange()
        self.updates += 1
        self._counted += 1
        self.bytes_per_step += (self._handed - handed - self.bytes_per_step) / self._counted

    def _collect(self) -> None:
        """Bring gradients into the buffer that are not there: a parameter without one has zeros."""
        for p, view in zip(self.parameters, self.grads, strict=True):
            if p.grad is not view:
                if p.grad is None:
                    view.zero_()
                else:
                    view.copy_(p.grad)
                p.grad = view

    def zero_grad(self) -> None:
        self.flat_grad.zero_()
        for p, view in zip(self.parameters, self.grads, strict=True):
            p.grad = view

    def discard(self) -> None:
        """What was left over of earlier gradients goes too: it was added to these."""
        self.residual.zero_()
        self.zero_grad()

    def start_sum(self, values: Tensor, what: str) -> int:
        """Begin to sum a tensor over workers, in place."""
        import horovod.torch as hvd

        self._handed += values.numel() * values.element_size()
        name = f"{self.name}.{what}"
        handle: int = guard(lambda: hvd.allreduce_async_(values, name=name, op=hvd.Sum), name)
        return handle

    def start_gather(self, values: Tensor, what: str) -> int:
        """Begin to put the tensors of all workers one behind the other, by rank."""
        import horovod.torch as hvd

        self._handed += values.numel() * values.element_size()
        name = f"{self.name}.{what}"
        handle: int = guard(lambda: hvd.allgather_async(values, name=name), name)
        return handle

    def wait(self, handle: int) -> Tensor:
        """Return what a collective made."""
        result: Tensor = finish(handle, self.name)
        return result

    def own_state(self) -> dict[str, Tensor]:
        return {_RESIDUAL: self.residual, _UPDATES: torch.tensor(self.updates)}

    def load_own_state(self, rows: Mapping[str, Tensor], rank: int) -> None:
        """Take over this worker's residual, or of another number of workers' residuals an equal part of their sum; it
        goes with any strategy of this kind, however much that sends.
        """
        self.residual.zero_()
        self.updates = int(rows[_UPDATES][0]) if _UPDATES in rows else 0
        if _RESIDUAL in rows:
            saved = rows[_RESIDUAL]
            same = len(saved) == self.world.size
            self.residual.copy_(saved[rank] if same else saved.double().sum(dim=0) / self.world.size)
