"""A trained model, opened from its checkpoint alone: no cache, no data, no world."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from hvdtrain.data.tokenizers import load_tokenizer
from hvdtrain.errors import CheckpointError, RecipeError
from hvdtrain.models._spec import DataSpec
from hvdtrain.train import checkpoint
from hvdtrain.train.assemble import build_model
from hvdtrain.train.state import load_model

if TYPE_CHECKING:
    from hvdtrain.data.tokenizers._tokenizer import Tokenizer
    from hvdtrain.recipe import Recipe


def open_model(path: Path) -> tuple[torch.nn.Module, Tokenizer, Recipe, int]:
    """Return the model in evaluation mode, its tokenizer, its recipe and its step.

    Args:
        path: a checkpoint, or a run directory, which means its newest whole checkpoint.

    Raises:
        CheckpointError: there is none, or it is damaged.
    """
    from hvdtrain.recipe import load

    place = checkpoint.locate(path)
    snapshot = checkpoint.read(place)
    try:
        recipe = load(place / "recipe.yaml").recipe
    except RecipeError as error:
        raise CheckpointError(f"checkpoint {place}: its recipe can't be read by this version:\n{error}") from error
    tokenizer = load_tokenizer(place / "tokenizer.json")
    max_seq_len: int = recipe.data.max_seq_len  # type: ignore[attr-defined]
    model = build_model(recipe, DataSpec(tokenizer.vocab_size, max_seq_len), torch.device("cpu"))
    load_model(model, snapshot.model)
    return model.eval(), tokenizer, recipe, snapshot.state["step"]
