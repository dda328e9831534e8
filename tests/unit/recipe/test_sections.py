"""What the sections demand of each other; each is one problem, with the key that it is about."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hvdtrain.errors import RecipeError
from hvdtrain.recipe import LoadedRecipe

Load = Callable[..., LoadedRecipe]
SGD = ("optimizer.name=sgd",)
COSINE = ("lr_scheduler.name=cosine",)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ((*COSINE, "lr_scheduler.min_lr=1"), "lr_scheduler.min_lr = 1: must not exceed optimizer.lr = 0.001"),
        (("lr_scheduler={name: constant, min_lr: 0}",), "lr_scheduler.min_lr = 0: unknown key"),
        ((*COSINE, "lr_scheduler.batch_size_scaling=sqrt"), "lr_scheduler.base_batch_size: is required by"),
        ((*SGD, "optimizer.nesterov=true"), "optimizer.nesterov = true: needs momentum"),
        ((*SGD, "optimizer={nesterov: true, momentum: 0.9, dampening: 0.1}"), "needs optimizer.dampening = 0"),
        (("train.max_steps=null",), "train.max_steps = null: one of max_steps, epochs, max_tokens is required"),
        (
            ("train.max_steps=1", "train.epochs=1"),
            "train.epochs = 1: only one of max_steps, epochs, max_tokens can be set, not max_steps and epochs",
        ),
        (("train.global_batch_size=4",), "must be a multiple of train.micro_batch_size 8, such as 8"),
        (("train.global_batch_size=20",), "must be a multiple of train.micro_batch_size 8, such as 16 or 24"),
    ],
)
def test_what_does_not_fit_is_named(loaded: Load, overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        loaded(*overrides)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "overrides",
    [
        (*COSINE, "lr_scheduler={min_lr: 1, batch_size_scaling: linear, base_batch_size: 1}"),
        (*COSINE, "lr_scheduler.min_lr=0.001", "lr_scheduler.warmup_steps=20"),
        ("lr_scheduler={name: constant, warmup_steps: 21}", "train.max_steps=20"),
        (*SGD, "optimizer={nesterov: true, momentum: 0.9}"),
        ("train.global_batch_size=24",),
        ("train.eval_interval=0", "train.save_interval=0", "train.keep_last=null", "train.threads_per_worker=1"),
    ],
)
def test_what_fits_is_taken(loaded: Load, overrides: tuple[str, ...]) -> None:
    origins = loaded(*overrides).origins
    for key in (override.partition("=")[0] for override in overrides):
        assert "override" in {origin for path, origin in origins.items() if path == key or path.startswith(f"{key}.")}


def test_a_wrong_value_is_not_blamed_on_another(loaded: Load) -> None:
    with pytest.raises(RecipeError) as caught:
        loaded("train.max_steps=-1", "train.micro_batch_size=0", "train.global_batch_size=20")
    assert "one of max_steps" not in str(caught.value)
    assert "multiple" not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 3


def test_data_that_needs_a_tokenizer_says_so(loaded: Load) -> None:
    with pytest.raises(RecipeError, match="tokenizer = null: is required by data shakespeare"):
        loaded("tokenizer=null")


def test_a_recipe_does_not_change(loaded: Load) -> None:
    recipe = loaded().recipe
    for section, key in ((recipe, "seed"), (recipe.train, "max_steps"), (recipe.optimizer, "lr")):
        with pytest.raises(ValueError, match="frozen"):
            setattr(section, key, 5)
