"""PowerSGD: of each gradient matrix the workers send two thin ones, whose product is close to it.

Vogels et al. 2019, https://arxiv.org/abs/1905.13727: algorithm 1 with error feedback and warm start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import NonNegativeInt, PositiveInt

from hvdtrain.sync._config import EngineConfig

if TYPE_CHECKING:
    import torch

    from hvdtrain.sync._strategy import NamedParameters, Strategy
    from hvdtrain.world import World


class Config(EngineConfig):
    """Gradients of rank `rank`: of a matrix of n x m, (n + m) x rank numbers travel. What that does not at least halve
    travels as it is, and so does everything in the first `start_step` updates, when gradients change most.
    """

    rounds = 2

    name: Literal["powersgd"] = "powersgd"
    rank: PositiveInt = 4
    start_step: NonNegativeInt = 0


def build(
    config: Config,
    optimizer: torch.optim.Optimizer,
    *,
    named_parameters: NamedParameters,
    backward_passes_per_step: int,
    world: World,
) -> Strategy:
    """Leave the optimizer as it is, which gets the sum of the compressed gradients, equal on all workers."""
    from hvdtrain.sync._powersgd import PowerSGD, ranks

    trained = [p for _, p in named_parameters if p.requires_grad]
    return PowerSGD(optimizer, trained, world, ranks=ranks(trained, config.rank), start_step=config.start_step)
