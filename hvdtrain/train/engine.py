"""The environment of Horovod's engine for a recipe on this machine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import torch

from hvdtrain.sync._config import EngineConfig
from hvdtrain.sync._engine import Knob, knobs

if TYPE_CHECKING:
    from hvdtrain.recipe import LoadedRecipe, Recipe


def engine_fuses(recipe: Recipe) -> bool:
    """Return whether Horovod's engine is to fuse tensors, because the recipe's strategy does not do so itself."""
    return not getattr(recipe.sync, "fuses", False)


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
