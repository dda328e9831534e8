from __future__ import annotations

from pathlib import Path

import numpy as np

from hvdtrain.data.synthetic import synthetic
from hvdtrain.recipe import load


def test_random_tokens_have_the_shape_of_the_recipes_data(small_recipe: Path) -> None:
    recipe = load(small_recipe, ["data.paths=[/nowhere]"]).recipe  # its files are not read
    made = synthetic(recipe.data, recipe.tokenizer, recipe.seed)
    batch = made.train.batch(np.arange(64))
    assert batch["inputs"].shape == (64, 16)
    assert made.encoder.vocab_size == 257
    assert 250 <= int(batch["inputs"].max()) <= 256
    assert (batch["inputs"][:, 1:] == batch["targets"][:, :-1]).all()
    again = synthetic(recipe.data, recipe.tokenizer, recipe.seed).train.batch(np.arange(64))
    assert (again["inputs"] == batch["inputs"]).all()


def test_the_vocabulary_is_the_tokenizers() -> None:
    recipe = load("gpt-shakespeare").recipe
    assert synthetic(recipe.data, recipe.tokenizer, 1).encoder.vocab_size == 2048
