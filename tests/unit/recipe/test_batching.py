from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hvdtrain.errors import RecipeError
from hvdtrain.recipe.batching import BatchPlan, plan_batch, total_steps
from hvdtrain.recipe.training import TrainConfig


@settings(deadline=None)
@given(micro=st.integers(1, 9), workers=st.integers(1, 9), passes=st.integers(1, 9))
def test_a_batch_that_divides_is_cut_without_a_rest(micro: int, workers: int, passes: int) -> None:
    config = TrainConfig(micro_batch_size=micro, global_batch_size=micro * workers * passes, max_steps=1)
    assert plan_batch(config, workers) == BatchPlan(micro * workers * passes, micro, passes)


def test_without_a_global_batch_it_grows_with_the_workers() -> None:
    assert plan_batch(TrainConfig(micro_batch_size=4, max_steps=1), 3) == BatchPlan(12, 4, 1)


def test_a_batch_that_does_not_divide_names_the_nearest_that_do() -> None:
    with pytest.raises(RecipeError, match=r"train.global_batch_size=32 or 64, or train.micro_batch_size=6") as raised:
        plan_batch(TrainConfig(micro_batch_size=8, global_batch_size=48, max_steps=1), 4)
    assert "48: not a multiple of 32" in str(raised.value)


@settings(deadline=None)
@given(micro=st.integers(1, 9), workers=st.integers(1, 9), multiple=st.integers(1, 30))
def test_every_batch_that_the_message_offers_works(micro: int, workers: int, multiple: int) -> None:
    config = TrainConfig(micro_batch_size=micro, global_batch_size=micro * multiple, max_steps=1)
    try:
        plan_batch(config, workers)
    except RecipeError as error:
        advice = str(error).split("use ")[1]
        offered = re.search(r"global_batch_size=(\d+)(?: or (\d+))?", advice)
        for size in filter(None, offered.groups()):
            offer = TrainConfig(micro_batch_size=micro, global_batch_size=int(size), max_steps=1)
            assert plan_batch(offer, workers).passes * micro * workers == int(size)
        for smaller in re.findall(r"micro_batch_size=(\d+)", advice):
            changed = TrainConfig(micro_batch_size=int(smaller), global_batch_size=micro * multiple, max_steps=1)
            assert plan_batch(changed, workers).passes * int(smaller) * workers == micro * multiple


@pytest.mark.parametrize(
    ("length", "steps"), [({"max_steps": 7}, 7), ({"max_tokens": 1000}, 7), ({"max_tokens": 1}, 1)]
)
def test_the_length_in_steps(length: dict[str, int], steps: int) -> None:
    config = TrainConfig(micro_batch_size=10, **length)
    plan = plan_batch(config, 1)
    assert total_steps(config, plan, targets_per_sample=16) == steps
