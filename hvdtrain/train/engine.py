"""Horovod's engine for a recipe on this machine: its environment, and its start."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from hvdtrain import world as worlds
from hvdtrain.sync._config import EngineConfig
from hvdtrain.sync._engine import Knob, knobs

if TYPE_CHECKING:
    from hvdtrain.recipe import LoadedRecipe
    from hvdtrain.world import World


def engine_environment(loaded: LoadedRecipe) -> dict[str, Knob]:
    """Return the engine's knobs by environment variable; strategies without knobs get what `auto` means."""
    sync = loaded.recipe.sync
    return knobs(
        sync if isinstance(sync, EngineConfig) else EngineConfig(name=sync.name),
        origins=loaded.origins,
        environment=os.environ,
        on_gpu=torch.cuda.is_available(),
        deterministic=loaded.recipe.train.deterministic,
    )


@dataclass(frozen=True)
class Joined:
    """The workers, the engine's knobs by environment variable, and whether it fuses tensors."""

    world: World
    knobs: Mapping[str, Knob]
    fuses: bool

    def again(self) -> World:
        """Join the workers that there are now with the same engine, after the one before was shut down."""
        return worlds.start({variable: knob.value for variable, knob in self.knobs.items()}, fuses=self.fuses)


def join(loaded: LoadedRecipe) -> Joined:
    """Join the workers with the engine that a recipe wants.

    It fuses tensors where the recipe's strategy does not fuse its own.

    Raises:
        SetupError: there are several workers and no Horovod.
    """
    chosen = engine_environment(loaded)
    fuses = not getattr(loaded.recipe.sync, "fuses", False)
    return Joined(worlds.start({variable: knob.value for variable, knob in chosen.items()}, fuses=fuses), chosen, fuses)
