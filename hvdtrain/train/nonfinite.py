"""Losses and gradients that are not numbers: whose they are, and what a skipped update must not leave behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from hvdtrain.errors import NonFiniteError
from hvdtrain.sync._batchnorm import unsynchronised

if TYPE_CHECKING:
    from hvdtrain.tasks._task import Batch
    from hvdtrain.train.loop import Loop, PhaseRun


def error(loop: Loop, run: PhaseRun, batches: Sequence[Batch]) -> NonFiniteError:
    """Return the error for a sum over workers that is no number. It names the workers whose own share is not finite.

    All workers whose updates are coupled call it together.
    """
    own = own_trouble(loop, run, batches)
    coupled = run.strategy.coupled
    culprits: Mapping[int, str] = dict(enumerate(loop.world.gather(own))) if coupled else {loop.world.rank: own}
    named = [f"{what} on worker {rank}" for rank, what in culprits.items() if what]
    made = NonFiniteError(f"step {loop.step + 1}: non-finite {', '.join(named) or 'sum of the gradients'}")
    made.shared = coupled
    return made


def own_trouble(loop: Loop, run: PhaseRun, batches: Sequence[Batch]) -> str:
    """Say what is not finite in this worker's own share, computed once more, because the sum can't tell whose it
    was.
    """
    seed_step(loop.seed, loop.step, loop.world.rank)
    with unsynchronised(loop.model):
        for batch in batches:
            with loop.precision.autocast():
                loss = run.phase.loss(loop.model, {name: tensor.to(loop.device) for name, tensor in batch.items()})
            if not loss.isfinite():
                return "loss"
            gradients: tuple[torch.Tensor | None, ...] = torch.autograd.grad(
                loss, list(run.parameters), allow_unused=True
            )
            if not all(bool(g.isfinite().all()) for g in gradients if g is not None):
                return "gradient"
    return ""


def seed_step(seed: int, step: int, rank: int) -> None:
    """Make a step's random numbers a function of seed, step and rank: there is no generator state to save."""
    torch.manual_seed(((seed * 1_000_003 + step) * 1_000_003 + rank) % 2**63)


class Statistics:
    """A model's running statistics before an update: forward has taken in the very batch that is then left out."""

    def __init__(self, model: torch.nn.Module) -> None:
        self._kept = [(buffer, buffer.clone()) for buffer in model.buffers()]

    def put_back(self) -> None:
        for buffer, before in self._kept:
            buffer.copy_(before)
