"""A trained model, opened from its checkpoint alone: no cache, no data, no world."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch

from hvdtrain.data import encoders
from hvdtrain.data.tokenizers import load_tokenizer
from hvdtrain.errors import CheckpointError, RecipeError
from hvdtrain.train import checkpoint
from hvdtrain.train.assemble import build_model, make_task
from hvdtrain.train.state import load_model

if TYPE_CHECKING:
    from hvdtrain.data.encoders import Encoder
    from hvdtrain.recipe import LoadedRecipe, Recipe
    from hvdtrain.tasks._task import Task


@dataclass(frozen=True)
class Trained:
    """A trained model, in evaluation mode on the CPU, with the encoder of its data, its task, its recipe, the step it
    was saved at, and where. `fingerprint` is that of the data it was trained with."""

    model: torch.nn.Module
    encoder: Encoder
    task: Task
    recipe: Recipe
    step: int
    path: Path
    fingerprint: str


def open_trained(path: Path, changes: tuple[str, ...] = (), prefer: Literal["newest", "best"] = "newest") -> Trained:
    """Open a checkpoint.

    Args:
        path: a checkpoint, or a run directory, which means its newest whole checkpoint, or its best.
        changes: to its recipe, such as `task.beam_size=8`.
        prefer: see `path`.

    Raises:
        CheckpointError: there is none, or it is damaged.
        RecipeError: a change is wrong.
    """
    place = checkpoint.locate(path, prefer)
    snapshot = checkpoint.read(place)
    checkpoint.check_state(snapshot, place)
    recipe = _recipe(place, changes).recipe
    tokenizer_file = place / "tokenizer.json"
    tokenizer = load_tokenizer(tokenizer_file) if tokenizer_file.exists() else None
    try:
        encoder = encoders.from_state(snapshot.state["encoder"], tokenizer)
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"checkpoint {place}: its encoder can't be read ({error!r})") from error
    task = make_task(recipe, encoder, torch.device("cpu"))
    model = build_model(recipe, task.spec, torch.device("cpu"))
    load_model(model, snapshot.model)
    fingerprint = snapshot.state.get("identity", {}).get("data", "")
    return Trained(model.eval(), encoder, task, recipe, snapshot.state["step"], place, fingerprint)


def _recipe(place: Path, changes: tuple[str, ...]) -> LoadedRecipe:
    from hvdtrain.recipe import load

    try:
        unchanged = load(place / "recipe.yaml")
    except RecipeError as error:
        raise CheckpointError(f"checkpoint {place}: its recipe can't be read by this version:\n{error}") from error
    return load(place / "recipe.yaml", changes) if changes else unchanged
