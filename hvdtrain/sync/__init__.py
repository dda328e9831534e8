"""Gradient synchronisation, one file a strategy: each wraps an optimizer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hvdtrain import registry

if TYPE_CHECKING:
    import torch

    from hvdtrain.sync._strategy import NamedParameters, Strategy
    from hvdtrain.world import World


def wrap(
    config: registry.RegisteredConfig,
    optimizer: torch.optim.Optimizer,
    *,
    named_parameters: NamedParameters,
    backward_passes_per_step: int,
    world: World,
) -> Strategy:
    """Wrap an optimizer in the strategy that the recipe names; one worker has nothing to synchronise with."""
    if world.size == 1:
        config = registry.config_class("sync", "none")(name="none")
    strategy: Strategy = registry.find("sync", config.name).build(
        config,
        optimizer,
        named_parameters=named_parameters,
        backward_passes_per_step=backward_passes_per_step,
        world=world,
    )
    return strategy
