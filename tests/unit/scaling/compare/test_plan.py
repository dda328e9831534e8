from __future__ import annotations

from pathlib import Path

import pytest

from hvdtrain import registry
from hvdtrain.errors import RecipeError, UserError
from hvdtrain.scaling.compare.plan import Choice, check_overrides, load_all, order, parse_choices, problems


def test_strategies_are_parted_by_commas_and_their_options_by_colons() -> None:
    found = parse_choices(["allreduce, sharded", "allreduce:compression=fp16:groups=4"])
    assert found == [Choice("allreduce"), Choice("sharded"), Choice("allreduce", ("compression=fp16", "groups=4"))]
    assert found[2].overrides == ("sync.name=allreduce", "sync.compression=fp16", "sync.groups=4")
    assert [str(one) for one in found] == ["allreduce", "sharded", "allreduce:compression=fp16:groups=4"]


def test_options_within_options_are_named_with_dots(small_recipe: Path) -> None:
    found = load_all(str(small_recipe), [], parse_choices(["local_sgd:period=2:outer.lr=0.5"]), 2)
    assert found["local_sgd:period=2:outer.lr=0.5"].recipe.sync.outer.lr == 0.5  # type: ignore[attr-defined]


def test_without_a_choice_every_registered_strategy_is_taken_but_the_floor() -> None:
    assert {one.name for one in parse_choices([])} == set(registry.names("sync")) - {"none"}
    assert [str(one) for one in parse_choices(["none,sharded"])] == ["sharded"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("alreduce", "did you mean 'allreduce'"),
        ("allreduce,", "without a name"),
        ("", "without a name"),
        ("allreduce:fp16", "'fp16' is no option; expected NAME or NAME:KEY=VALUE"),
        ("allreduce:compression=", "is no option"),
        ("allreduce:name=sharded", "is no option"),
        ("sharded,sharded", "sharded is named twice"),
        ("none", "measured in any case"),
    ],
)
def test_what_is_no_strategy_is_refused(text: str, problem: str) -> None:
    with pytest.raises(UserError, match=problem) as caught:
        parse_choices([text])
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("text", ["sync.cycle_time_ms=5", "sync={name: none}"])
def test_changes_to_the_section_of_strategies_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="--sync NAME:"):
        check_overrides(["model.n_layers=2", text])
    check_overrides(["model.n_layers=2", "train.sync_batchnorm=true"])


def test_the_recipes_own_knobs_hold_for_strategies_that_know_them(small_recipe: Path) -> None:
    found = load_all(str(small_recipe), ["seed=3"], parse_choices(["allreduce:compression=fp16,sharded"]), 2)
    assert list(found) == ["none", "allreduce:compression=fp16", "sharded"]
    assert {one.recipe.seed for one in found.values()} == {3}
    assert [one.recipe.sync.name for one in found.values()] == ["none", "allreduce", "sharded"]
    assert found["sharded"].recipe.sync.cycle_time_ms == 1  # type: ignore[attr-defined]
    assert found["allreduce:compression=fp16"].recipe.sync.compression == "fp16"  # type: ignore[attr-defined]


def test_an_option_that_a_strategy_does_not_know_is_refused(small_recipe: Path) -> None:
    with pytest.raises(RecipeError, match="sync.compression=fp16"):
        load_all(str(small_recipe), [], [Choice("sharded", ("compression=fp16",))], 2)


def test_a_batch_that_the_workers_can_not_share_is_refused(small_recipe: Path) -> None:
    with pytest.raises(RecipeError, match="global_batch_size = 12"):
        load_all(str(small_recipe), [], [Choice("allreduce")], 5)


def test_a_strategy_says_itself_why_it_can_not_run(small_recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hvdtrain.sync.sharded import Config

    monkeypatch.setattr(Config, "problem", lambda self, size, controller: f"{size} of {controller}")
    loaded = load_all(str(small_recipe), [], parse_choices(["allreduce,sharded"]), 3)
    assert problems(loaded, 3, "gloo") == {"sharded": "3 of gloo"}


def test_every_other_round_goes_the_other_way() -> None:
    assert list(order(["a", "b"], 3)) == [(0, "a"), (0, "b"), (1, "b"), (1, "a"), (2, "a"), (2, "b")]
