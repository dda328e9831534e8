"""What the training loop asks of a strategy, whichever it is, and the base of those that keep everything everywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import torch

NamedParameters = Sequence[tuple[str, torch.nn.Parameter]]


class Strategy(Protocol):
    """A wrapped optimizer.

    The loop hands each worker's share of the global batch's mean loss to backward, multiplied by `loss_factor`. After
    `synchronize()` the gradients of `parameters` are what this worker's update needs: these are the tensors that its
    optimizer holds, the model's own, or a share of them.

    - `coupled`: whether the workers' updates depend on each other at every step; where they do not, each has a loss
      and a gradient norm of its own.
    - `synchronises`: whether the workers ever agree; they do but for `none` with several of them.
    - `feeds_back`: whether something of a gradient is left for later updates: then gradients get their weight before
      `synchronize`.
    - `publishes`: whether a worker waits for others in `total_norm` and `publish` too, because what it updates is a
      share, or its own.
    - `bytes_per_step`: what a worker hands to the engine for one update, the mean over updates; a reduce-scatter and an
      all-gather together count as the all-reduce that they are the halves of.
    - `server_bytes_per_step`: what the link of the busiest server carries in and out, where there are servers.
    """

    optimizer: torch.optim.Optimizer
    parameters: Sequence[torch.nn.Parameter]
    loss_factor: float
    coupled: bool
    synchronises: bool
    feeds_back: bool
    publishes: bool
    bytes_per_step: float
    server_bytes_per_step: tuple[float, float] | None

    def synchronize(self) -> None:
        """Wait until the gradients of all workers are in."""
        ...

    def total_norm(self, gradients: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the L2 norm of the update's whole gradient, of which this worker has these tensors."""
        ...

    def step(self, scaler: torch.amp.GradScaler | None) -> None:
        """Update the parameters that this worker's optimizer holds, from the gradients as they are; a scaler skips the
        update where they overflowed.
        """
        ...

    def publish(self) -> None:
        """Bring updated parameters to the workers that need them."""
        ...

    def zero_grad(self) -> None:
        """Forget the gradients."""
        ...

    def discard(self) -> None:
        """Take the place of `step` where the gradients are no numbers: leave the parameters as they are, and keep
        nothing of these gradients.
        """
        ...

    def agreed(self) -> AbstractContextManager[None]:
        """Return a context in which the model has the parameters that are the run's result so far, equal on all workers
        (unless they never synchronise): for evaluations and checkpoints. After it each worker's are what they were.
        """
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return the optimizer's state as `torch.optim.Optimizer.state_dict` has it for all parameters, whatever part
        of it lies on which worker; all workers call it together.
        """
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` of any strategy and any number of workers gave; hyperparameters included."""
        ...

    def own_state(self) -> dict[str, torch.Tensor]:
        """Return the tensors whose values are this worker's own, beside `state_dict`; names and shapes are alike."""
        ...

    def load_own_state(self, rows: Mapping[str, torch.Tensor], rank: int) -> None:
        """Take over what `own_state` gave on each of n workers, stacked: (n, ...) each, n being any number; nothing
        where the checkpoint is another strategy's. The model has its parameters already.
        """
        ...

    def probe(self) -> float | None:
        """Return the seconds of one plain synchronisation of gradient-sized tensors; None where nothing is
        synchronised, or not in one piece.
        """
        ...


class Replicated:
    """Base of strategies whose workers hold every parameter and the whole optimizer."""

    optimizer: Any
    loss_factor = 1.0
    coupled = True
    synchronises = True
    feeds_back = False
    publishes = False
    bytes_per_step = 0.0
    server_bytes_per_step: tuple[float, float] | None = None

    def __init__(self, optimizer: Any, parameters: Sequence[torch.nn.Parameter]) -> None:
        self.optimizer = optimizer
        self.parameters = parameters

    def synchronize(self) -> None:
        return None

    def total_norm(self, gradients: Sequence[torch.Tensor]) -> torch.Tensor:
        return torch.nn.utils.get_total_norm(gradients)

    def step(self, scaler: torch.amp.GradScaler | None) -> None:
        apply(self.optimizer, scaler)

    def publish(self) -> None:
        return None

    def zero_grad(self) -> None:
        self.optimizer.zero_grad()

    def discard(self) -> None:
        self.zero_grad()

    def agreed(self) -> AbstractContextManager[None]:
        return nullcontext()

    def state_dict(self) -> dict[str, Any]:
        state: dict[str, Any] = self.optimizer.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.optimizer.load_state_dict(state)

    def own_state(self) -> dict[str, torch.Tensor]:
        return {}

    def load_own_state(self, rows: Mapping[str, torch.Tensor], rank: int) -> None:
        return None

    def probe(self) -> float | None:
        return None


def apply(optimizer: Any, scaler: torch.amp.GradScaler | None) -> None:
    """Step the optimizer, through the scaler where there is one."""
    if scaler is None:
        optimizer.step()
    else:
        scaler.step(optimizer)
