from __future__ import annotations

from pathlib import Path

import pytest

from hvdtrain.errors import UserError
from hvdtrain.launch.hosts import Host
from hvdtrain.recipe import Recipe, load
from hvdtrain.recipe.batching import plan_batch
from hvdtrain.scaling.sweep.plan import Cores, plan
from hvdtrain.scaling.trial import Place

HERE = Place()


@pytest.fixture
def recipe(small_recipe: Path) -> Recipe:
    return load(small_recipe, ["train.threads_per_worker=auto"]).recipe


def batches(path: Path, recipe_overrides: tuple[str, ...], workers: int) -> tuple[int, int, int]:
    made = plan_batch(load(path, list(recipe_overrides)).recipe.train, workers)
    return made.global_batch_size, made.micro_batch_size, made.passes


def test_one_worker_is_always_there_and_all_have_the_threads_of_the_largest_size(recipe: Recipe) -> None:
    sizes = plan(recipe, [4, 2], "weak", HERE, Cores({"": 8}))
    assert [(s.workers, s.threads, s.all_cores) for s in sizes] == [
        (1, 2, False), (2, 2, False), (4, 2, False), (1, 8, True),
    ]  # fmt: skip
    assert not any(s.oversubscribed for s in sizes)


def test_weak_sizes_do_a_micro_batch_a_worker(recipe: Recipe, small_recipe: Path) -> None:
    for size in plan(recipe, [1, 3], "weak", HERE, Cores({"": 1})):
        assert batches(small_recipe, size.overrides, size.workers) == (2 * size.workers, 2, 1)


def test_strong_sizes_share_the_recipes_batch(recipe: Recipe, small_recipe: Path) -> None:
    found = {s.workers: batches(small_recipe, s.overrides, s.workers)
             for s in plan(recipe, [1, 4, 12], "strong", HERE, Cores({"": 1}))}  # fmt: skip
    assert found == {1: (12, 2, 6), 4: (12, 1, 3), 12: (12, 1, 1)}


def test_numbers_that_cannot_run_are_refused_with_those_that_can(recipe: Recipe) -> None:
    place = Place((Host("a", 2), Host("b", 2)))
    with pytest.raises(UserError, match=r"--np 1,2,3 can\n.*8 workers: the hosts have 4 slots"):
        plan(recipe, [2, 3, 8], "weak", place, Cores({"a": 2, "b": 2}))
    with pytest.raises(UserError, match=r"--np 1,2,3 can\n.*5 workers: train.global_batch_size 12 can't be cut"):
        plan(recipe, [2, 3, 5], "both", HERE, Cores({"": 2}))
    with pytest.raises(UserError, match="0 workers: at least one"):
        plan(recipe, [0, 2], "weak", HERE, Cores({"": 2}))


def test_strong_scaling_without_a_batch_says_what_is_missing(small_recipe: Path) -> None:
    without = load(small_recipe, ["train.global_batch_size=null"]).recipe
    with pytest.raises(UserError, match="the recipe has none: set train.global_batch_size, or use --mode weak"):
        plan(without, [2], "strong", HERE, Cores({"": 2}))


def test_oversubscribed_sizes_are_marked_by_the_fullest_host(recipe: Recipe) -> None:
    place = Place((Host("a", 1), Host("b", 4)))
    sizes = plan(recipe, [1, 2, 5], "weak", place, Cores({"a": 8, "b": 2}))
    assert [s.oversubscribed for s in sizes if not s.all_cores] == ["", "", "4 workers x 1 thread on 2 cores"]
    assert sizes[-1].all_cores
    assert sizes[-1].threads == 8


def test_asked_threads_are_kept(small_recipe: Path) -> None:
    eight = load(small_recipe, ["train.threads_per_worker=8"]).recipe
    sizes = plan(eight, [2], "weak", HERE, Cores({"": 2}))
    assert [(s.threads, s.oversubscribed) for s in sizes] == [
        (8, "1 worker x 8 threads on 2 cores"),
        (8, "2 workers x 8 threads on 2 cores"),
    ]


def test_hosts_are_filled_in_their_order() -> None:
    place = Place((Host("a", 2), Host("b", 4)))
    assert [str(h) for h in place.first(1)] == ["a:1"]
    assert [str(h) for h in place.first(5)] == ["a:2", "b:3"]
