from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hvdtrain.errors import RecipeError
from hvdtrain.recipe import LoadedRecipe, load

Load = Callable[..., LoadedRecipe]
Write = Callable[..., Path]


def test_mappings_merge_and_lists_and_scalars_replace(write: Write) -> None:
    write(name="lower.yaml")
    recipe = load(write("extends: lower.yaml\nname: upper\noptimizer: {betas: [0.8, 0.9]}\n")).recipe
    assert (recipe.name, recipe.optimizer.lr, recipe.optimizer.betas) == ("upper", 1e-3, (0.8, 0.9))


def test_a_chain_is_laid_from_its_end_upwards(write: Write) -> None:
    write(name="below/one.yaml")
    write("extends: one.yaml\nseed: 1\noptimizer: {lr: 0.1}\n", name="below/two.yaml")
    recipe = load(write("extends: below/two\noptimizer: {lr: 0.2}\n"), ["train.log_interval=7"]).recipe
    assert (recipe.seed, recipe.optimizer.lr, recipe.train.log_interval, recipe.train.max_steps) == (1, 0.2, 7, 20)


def test_extends_takes_a_shipped_recipe_where_no_file_is_beside(write: Write) -> None:
    assert load(write("extends: base/lm\nname: mine\n")).recipe.name == "mine"
    write(name="base/lm.yaml")
    assert load(write("extends: base/lm\n")).recipe.name == "trial"


def test_another_name_keeps_what_it_knows_of_the_former(loaded: Load) -> None:
    recipe = loaded("optimizer.name=sgd", "optimizer.momentum=0.9").recipe
    assert recipe.optimizer.model_dump() == {
        "name": "sgd", "lr": 1e-3, "momentum": 0.9, "dampening": 0.0, "nesterov": False, "weight_decay": 0.0
    }  # fmt: skip


def test_the_same_name_keeps_everything_so_that_a_wrong_key_is_found(write: Write) -> None:
    write(name="lower.yaml")
    with pytest.raises(RecipeError, match=r"optimizer\.momentum = 1: unknown key"):
        load(write("extends: lower.yaml\noptimizer: {name: adamw, momentum: 1}\n"))


@pytest.mark.usefixtures("other_model")
def test_another_registered_name_keeps_what_it_knows_of_the_former(loaded: Load) -> None:
    model = loaded("model.name=other_net").recipe.model
    assert model.model_dump() == {"name": "other_net", "d_model": 64, "n_cells": 1}


def test_a_key_that_belongs_to_the_former_name_only_is_still_an_error_beside_the_new_one(loaded: Load) -> None:
    with pytest.raises(RecipeError, match=r"optimizer\.betas"):
        loaded("optimizer.name=sgd", "optimizer.betas=[0.9, 0.9]")


@pytest.mark.parametrize(("override", "field"), [("train.epochs=2", "epochs"), ("train.max_tokens=2", "max_tokens")])
def test_another_length_takes_the_place_of_the_lower_one(loaded: Load, override: str, field: str) -> None:
    train = loaded(override).recipe.train
    assert {key: getattr(train, key) for key in ("max_steps", "epochs", "max_tokens")} == {
        "max_steps": None, "epochs": None, "max_tokens": None, field: 2
    }  # fmt: skip


def test_a_length_that_is_null_takes_nothing_away(loaded: Load) -> None:
    assert loaded("train.epochs=null").recipe.train.max_steps == 20


def test_origins_say_who_set_what_and_nothing_of_defaults(write: Write) -> None:
    write(name="lower.yaml")
    origins = load(
        write("extends: lower.yaml\nsync: {name: allreduce, cycle_time_ms: 5}\n"),
        ["sync.fusion_threshold_mb=16", "optimizer.betas=[0.8, 0.9]", "data={max_seq_len: 16}"],
    ).origins
    assert origins["sync.fusion_threshold_mb"] == "override"
    assert origins["optimizer.betas"] == "override"
    assert origins["data.max_seq_len"] == "override"
    assert origins["sync.cycle_time_ms"] == "recipe"
    assert origins["optimizer.lr"] == origins["data.name"] == "recipe"
    assert "sync.compression" not in origins
    assert "extends" not in origins


@pytest.mark.parametrize(
    ("files", "part"),
    [
        ({"trial.yaml": "extends: trial.yaml\n"}, "cannot extend itself"),
        ({"trial.yaml": "extends: b.yaml\n", "b.yaml": "extends: ./trial.yaml\n"}, "cannot extend itself"),
        (
            {f"{i}.yaml": f"extends: {i + 1}.yaml\n" for i in range(12)} | {"trial.yaml": "extends: 0.yaml\n"},
            "more than 10",
        ),
        ({"trial.yaml": "name: x\nextends: base/lmm\n"}, "trial.yaml:2: extends = base/lmm"),
        ({"trial.yaml": "extends: base/lmm\n"}, "did you mean 'base/lm'?"),
        ({"trial.yaml": "extends: [a, b]\n"}, "must be one path"),
        ({"trial.yaml": "extends:\n"}, "must be one path"),
    ],
)
def test_what_cannot_be_extended_is_named(write: Write, files: dict[str, str], part: str) -> None:
    paths = [write(content, name=name) for name, content in files.items()]
    with pytest.raises(RecipeError) as caught:
        load(next(path for path in paths if path.name == "trial.yaml"))
    assert part in str(caught.value)
