"""No synchronisation: what one process does, and the floor that synchronised runs are held against."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from hvdtrain.registry import RegisteredConfig

if TYPE_CHECKING:
    import torch

    from hvdtrain.sync._strategy import NamedParameters


class Config(RegisteredConfig):
    """Workers do not synchronise."""

    name: Literal["none"] = "none"


class Unsynchronized:
    """Each worker follows the gradient of its own share alone, which is the whole batch where there is one worker."""

    bytes_per_step = 0

    def __init__(self, optimizer: torch.optim.Optimizer, size: int) -> None:
        self.optimizer = optimizer
        self.loss_factor = float(size)
        self.coupled = size == 1

    def synchronize(self) -> None:
        return None

    def step(self, scaler: torch.amp.GradScaler | None) -> None:
        from hvdtrain.sync._strategy import apply

        apply(self.optimizer, scaler)

    def zero_grad(self) -> None:
        self.optimizer.zero_grad()

    def probe(self) -> float | None:
        return None


def build(
    config: Config,
    optimizer: torch.optim.Optimizer,
    *,
    named_parameters: NamedParameters,
    backward_passes_per_step: int,
    size: int,
) -> Unsynchronized:
    """Leave the optimizer as it is; a worker's share counts as the whole batch."""
    return Unsynchronized(optimizer, size)
