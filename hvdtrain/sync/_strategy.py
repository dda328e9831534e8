"""What the training loop asks of a strategy, whichever it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch


class Strategy(Protocol):
    """A wrapped optimizer.

    The loop hands each worker's share of the global batch's mean loss to backward, multiplied by `loss_factor`; after
    `synchronize()` every `.grad` is what the update needs. `coupled` tells whether the workers' updates depend on each
    other; `bytes_per_step` are the gradient bytes that a worker hands to the engine for one update.
    """

    optimizer: torch.optim.Optimizer
    loss_factor: float
    coupled: bool
    bytes_per_step: int

    def synchronize(self) -> None:
        """Wait until the gradients of all workers are in."""
        ...

    def step(self, scaler: torch.amp.GradScaler | None) -> None:
        """Update the parameters from the gradients as they are; a scaler skips the update where they overflowed."""
        ...

    def zero_grad(self) -> None:
        """Forget the gradients."""
        ...

    def probe(self) -> float | None:
        """Return the seconds of one plain synchronisation of gradient-sized tensors; None where nothing is
        synchronised.
        """
        ...


NamedParameters = Sequence[tuple[str, torch.nn.Parameter]]


def apply(optimizer: Any, scaler: torch.amp.GradScaler | None) -> None:
    """Step the optimizer, through the scaler where there is one."""
    if scaler is None:
        optimizer.step()
    else:
        scaler.step(optimizer)
