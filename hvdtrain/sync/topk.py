"""Sparse gradients: of each tensor a worker sends the largest entries alone, and keeps the rest for later updates.

Stich et al. 2018, https://arxiv.org/abs/1809.07599; Lin et al. 2018, https://arxiv.org/abs/1712.01887.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, NonNegativeInt

from hvdtrain.sync._config import EngineConfig

if TYPE_CHECKING:
    import torch

    from hvdtrain.sync._strategy import NamedParameters, Strategy
    from hvdtrain.world import World


class Config(EngineConfig):
    """The part `density` of each large tensor travels, as values and positions, 8 bytes an entry. Tensors that are
    small, or would not shrink, travel as they are, and so does everything in the first `start_step` updates.
    """

    name: Literal["topk"] = "topk"
    density: Annotated[float, Field(gt=0, le=1)] = 0.01
    start_step: NonNegativeInt = 0


def build(
    config: Config,
    optimizer: torch.optim.Optimizer,
    *,
    named_parameters: NamedParameters,
    backward_passes_per_step: int,
    world: World,
) -> Strategy:
    """Leave the optimizer as it is, which gets the sum of the sparse gradients, equal on all workers."""
    from hvdtrain.sync._topk import TopK, counts

    trained = [p for _, p in named_parameters if p.requires_grad]
    return TopK(optimizer, trained, world, counts=counts(trained, config.density), start_step=config.start_step)
