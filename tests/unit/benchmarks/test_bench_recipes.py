"""The recipes of benchmarks: each is one that a benchmark starts, and is as large as it says."""

from __future__ import annotations

import compare_peers
import cost_of_size
import pytest
from peers.plain_gpt import PlainGPT

from hvdtrain import registry
from hvdtrain.models._spec import DataSpec
from hvdtrain.recipe import load, shipped
from hvdtrain.recipe.batching import plan_batch

BENCH = sorted(name for name in shipped() if name.startswith("bench/"))


def parameters(name: str) -> int:
    recipe = load(name).recipe
    spec = DataSpec(recipe.tokenizer.vocab_size, recipe.data.max_seq_len)
    model = registry.find("models", recipe.model.name).build(recipe.model, spec)
    return sum(p.numel() for p in model.parameters())


def test_a_benchmark_starts_each() -> None:
    assert sorted(f"bench/gpt-{size}" for size in cost_of_size.SIZES) == BENCH
    assert compare_peers.LENGTHS.keys() <= set(BENCH)


@pytest.mark.parametrize("name", BENCH)
def test_each_is_as_large_as_it_is_called_and_the_same_work_otherwise(name: str) -> None:
    recipe, base = load(name).recipe, load("bench/gpt-7m").recipe
    called = float(name.removeprefix("bench/gpt-").removesuffix("m"))
    assert parameters(name) / 1e6 == pytest.approx(called, rel=0.025)
    assert (recipe.train.micro_batch_size, recipe.data.max_seq_len, recipe.tokenizer.vocab_size) == (8, 128, 8192)
    assert (plan_batch(recipe.train, 2).global_batch_size, plan_batch(recipe.train, 4).passes) == (16, 1)
    assert (recipe.train.precision, recipe.sync.name, recipe.train.eval_interval) == ("fp32", "allreduce", 0)
    assert recipe.optimizer == base.optimizer
    assert recipe.data == base.data


def test_the_workload_is_as_large_as_a_plain_gpt_of_its_sizes() -> None:
    config = load("bench/gpt-7m").recipe.model
    assert (config.d_model, config.n_layers, config.n_heads) == (256, 6, 4)
    plain = PlainGPT(8192, 128, config.d_model, config.n_layers, config.n_heads)
    theirs = sum(p.numel() for p in plain.parameters())
    assert parameters("bench/gpt-7m") == pytest.approx(theirs, rel=0.005)
