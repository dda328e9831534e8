from __future__ import annotations

from collections.abc import Callable

import pytest

from hvdtrain.errors import RecipeError
from hvdtrain.recipe import LoadedRecipe

Load = Callable[..., LoadedRecipe]


def test_values_are_yaml(loaded: Load) -> None:
    recipe = loaded(
        "optimizer.lr=3e-4", "optimizer.betas=[0.8, 0.99]", "train.max_grad_norm=null", "train.deterministic=true",
        "sync={name: none}", 'task.sample_prompt="\\t\\n"', "description='007'",
    ).recipe  # fmt: skip
    assert (recipe.optimizer.lr, recipe.optimizer.betas) == (3e-4, (0.8, 0.99))
    assert recipe.train.max_grad_norm is None
    assert recipe.train.deterministic is True
    assert recipe.sync.name == "none"
    assert recipe.task.sample_prompt == "\t\n"
    assert recipe.description == "007"


@pytest.mark.parametrize("text", ["ROMEO: a #b", "- x", "a: b", "*star", "a=b", "| bar", "a, b", "no"])
def test_an_unquoted_value_is_one_scalar_whatever_it_contains(loaded: Load, text: str) -> None:
    assert loaded(f"description={text}").recipe.description == text


def test_the_last_word_wins(loaded: Load) -> None:
    assert loaded("seed=1", "seed=2").recipe.seed == 2
    assert loaded("optimizer={lr: 0.5}", "optimizer.lr=0.25").recipe.optimizer.lr == 0.25


def test_a_mapping_leaves_what_other_overrides_set_beside_it(loaded: Load) -> None:
    train = loaded("train.log_interval=7", "train={eval_interval: 5, save_interval: 6}", "train={}").recipe.train
    assert (train.log_interval, train.eval_interval, train.save_interval, train.max_steps) == (7, 5, 6, 20)


@pytest.mark.parametrize(
    ("override", "part"),
    [
        ("foo", "must be key=value"),
        ("=3", "must be key=value"),
        ("a..b=3", "must be key=value"),
        ("a. b=3", "must be key=value"),
        ("extends=base/lm", "extends stands in a file"),
        ("optimizer.betas=[1, 2", "not valid YAML"),
        ("model={name: gpt, name: gpt}", "the key is there twice"),
        ("name=!!python/object:os.system ls", "!!python/object:os.system is not allowed"),
        ("optimizer.lrr=1", "optimizer.lrr = 1: unknown key; did you mean 'lr'?"),
        ("optimiser.lr=1", "optimiser: unknown key; did you mean 'optimizer'?"),
        ("seed.x=1", "seed: must be a whole number"),
        ("optimizer.lr=abc", "optimizer.lr = abc: must be a number"),
        ("optimizer.betas=[0.9, 2.0]", "optimizer.betas.1 = 2.0: must be less than 1"),
        ("train={log_interval: 0}", "train.log_interval = 0: must be greater than 0"),
    ],
)
def test_a_wrong_override_is_named_as_it_was_typed(loaded: Load, override: str, part: str) -> None:
    with pytest.raises(RecipeError) as caught:
        loaded(override)
    assert str(caught.value).startswith(f"override '{override}': ")
    assert part in str(caught.value)
