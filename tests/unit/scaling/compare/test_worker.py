from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean

import pytest
import torch

from hvdtrain.recipe import load
from hvdtrain.scaling.compare.run import StrategyTask
from hvdtrain.scaling.worker import strategy
from hvdtrain.sync._strategy import Replicated
from hvdtrain.train.assemble import assemble
from hvdtrain.train.interrupt import Interrupt
from hvdtrain.world import Solo


@pytest.fixture
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_a_run_does_the_first_updates_of_the_recipe(small_recipe: Path, one_thread: None) -> None:
    overrides = ("train.log_interval=3", "train.max_steps=20")
    found = strategy.train(StrategyTask(str(small_recipe), overrides, 7, 2), load(small_recipe, list(overrides)))
    assert (found.step, found.timed, found.samples, found.tokens) == (7, 5, 5 * 12, 5 * 12 * 16)
    loop = assemble(load(small_recipe, list(overrides)).recipe, Solo(), Interrupt()).loop
    updates = loop.updates()
    losses = [next(updates).loss for _ in range(7)]
    assert found.train_loss == fmean(losses[-3:])
    assert found.wall > 0
    assert found.metrics["loss"] < losses[0]
    # Of AdamW two values a parameter, and a count of steps a tensor.
    tensors = len(list(loop.model.parameters()))
    assert found.state_bytes == 4 * (2 * found.parameters + tensors)


def test_a_recipe_that_is_shorter_ends_the_run(small_recipe: Path, one_thread: None) -> None:
    overrides = ("train.max_steps=3",)
    found = strategy.train(StrategyTask(str(small_recipe), overrides, 60, 5), load(small_recipe, list(overrides)))
    assert (found.step, found.timed) == (3, 1)


def test_a_strategy_that_knows_its_state_is_asked() -> None:
    parameter = torch.nn.Parameter(torch.zeros(10))
    optimizer = torch.optim.SGD([parameter], lr=0.1, momentum=0.9)
    plain = Replicated(optimizer, [parameter])
    assert strategy._state_bytes(plain) == 0
    parameter.grad = torch.ones(10)
    optimizer.step()
    assert strategy._state_bytes(plain) == 40

    class Other(Replicated):
        def state_bytes(self) -> int:
            return 7

    assert strategy._state_bytes(Other(optimizer, [parameter])) == 7


def test_the_peak_of_memory_is_that_since_it_was_forgotten() -> None:
    cpu = torch.device("cpu")
    if "VmHWM" not in Path("/proc/self/status").read_text():
        pytest.skip("this system does not tell the peak of a process's memory")
    strategy.forget_peak(cpu)
    before = strategy.peak_bytes(cpu)
    size = 2**26
    with mmap.mmap(-1, size) as block:  # goes back to the system when it is freed, which an allocator's may not
        block[::4096] = b"1" * (size // 4096)
        assert strategy.peak_bytes(cpu) - before > 0.9 * size
    assert strategy.peak_bytes(cpu) - before > 0.9 * size
    strategy.forget_peak(cpu)
    assert strategy.peak_bytes(cpu) - before < 0.5 * size
