"""Sharded optimizer: each worker updates its share of the parameters, and keeps optimizer state for that share alone.

ZeRO, stage 1 (Rajbhandari et al. 2020, https://arxiv.org/abs/1910.02054, section 5.1): gradients are reduce-scattered,
parameters all-gathered after the update. The two move as many bytes as an all-reduce.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from hvdtrain.sync._config import EngineConfig

if TYPE_CHECKING:
    import torch

    from hvdtrain.sync._strategy import NamedParameters, Strategy
    from hvdtrain.world import World


class Config(EngineConfig):
    """Optimizer state divided among the workers: of AdamW's 8 bytes a parameter each keeps 8 / n."""

    rounds = 3

    name: Literal["sharded"] = "sharded"


def build(
    config: Config,
    optimizer: torch.optim.Optimizer,
    *,
    named_parameters: NamedParameters,
    backward_passes_per_step: int,
    world: World,
) -> Strategy:
    """Divide the parameters evenly, whatever their shapes."""
    from hvdtrain.sync._sharded import ReduceScatter

    return ReduceScatter(optimizer, world, backward_passes_per_step)
