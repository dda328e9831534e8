"""No synchronisation: what one process does, and the floor that synchronised runs are held against."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from hvdtrain.sync._config import SyncConfig

if TYPE_CHECKING:
    import torch

    from hvdtrain.sync._strategy import NamedParameters, Strategy
    from hvdtrain.world import World


class Config(SyncConfig):
    """Workers do not synchronise."""

    scales_gradients = True
    coupled = False

    name: Literal["none"] = "none"


def build(
    config: Config,
    optimizer: torch.optim.Optimizer,
    *,
    named_parameters: NamedParameters,
    backward_passes_per_step: int,
    world: World,
) -> Strategy:
    """Leave the optimizer as it is: each worker follows the gradient of its own share, which counts as the whole
    batch."""
    from hvdtrain.sync._alone import Alone

    return Alone(optimizer, named_parameters, world)
