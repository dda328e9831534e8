"""What local SGD leaves for a resume, on threads that stand for workers."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from hvdtrain.sync import local_sgd
from hvdtrain.world import Solo

ELEMENTS = 7


class Threads(Solo):
    """A world of threads; all share one barrier and one list of values."""

    def __init__(self, rank: int, size: int, barrier: threading.Barrier, values: list[Any]) -> None:
        self.rank, self.size, self._barrier, self._values = rank, size, barrier, values

    def start_sum(self, values: torch.Tensor, name: str) -> Any:
        self._values[self.rank] = values.clone()
        self._barrier.wait()
        values.copy_(torch.stack(self._values).sum(0))
        self._barrier.wait()
        return super().start_sum(values, name)


Work = Callable[[Threads], Any]


def on_workers(size: int, work: Work) -> list[Any]:
    barrier, values = threading.Barrier(size, timeout=30), [None] * size
    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(lambda rank: work(Threads(rank, size, barrier, values)), range(size)))


class Worker:
    """A model of seven parameters in two tensors, whose gradient at worker r is its parameters minus r."""

    def __init__(self, world: Threads, **knobs: Any) -> None:
        self.parameters = [torch.nn.Parameter(torch.ones(2, 2)), torch.nn.Parameter(torch.full((3,), 2.0))]
        self.strategy = local_sgd.build(
            local_sgd.Config(**knobs),
            torch.optim.SGD(self.parameters, lr=0.1, momentum=0.9),
            named_parameters=[("a", self.parameters[0]), ("b", self.parameters[1])],
            backward_passes_per_step=1,
            world=world,
        )
        self.rank = world.rank

    def update(self, times: int) -> Worker:
        for _ in range(times):
            for p in self.parameters:
                p.grad = p.detach() - self.rank
            self.strategy.step(None)
            self.strategy.publish()
        return self

    def values(self) -> torch.Tensor:
        return torch.cat([p.detach().flatten() for p in self.parameters])

    def saved(self) -> dict[str, Any]:
        with self.strategy.agreed():
            model = self.values().clone()
            own = {name: value.clone() for name, value in self.strategy.own_state().items()}
            return {"model": model, "state": self.strategy.state_dict(), "own": own}

    def resumed(self, kept: list[dict[str, Any]]) -> Worker:
        """Take over what the workers of a checkpoint saved."""
        with torch.no_grad():
            parts = torch.split(kept[0]["model"], [p.numel() for p in self.parameters])
            for p, values in zip(self.parameters, parts, strict=True):
                p.copy_(values.view(p.shape))
        self.strategy.load_state_dict(copy.deepcopy(kept[0]["state"]))
        rows = {name: torch.stack([one["own"][name] for one in kept]) for name in kept[0]["own"]}
        self.strategy.load_own_state(rows, self.rank)
        return self


def trained(size: int, times: int, **knobs: Any) -> list[Worker]:
    return on_workers(size, lambda world: Worker(world, **knobs).update(times))


def saved(size: int, times: int, **knobs: Any) -> list[dict[str, Any]]:
    return on_workers(size, lambda world: Worker(world, **knobs).update(times).saved())


@pytest.mark.parametrize("times", [3, 4, 6])
@pytest.mark.parametrize("outer", [None, {}])
def test_as_many_workers_go_on_bit_for_bit(times: int, outer: dict | None) -> None:
    kept = saved(3, times, period=4, outer=outer)
    goes_on = on_workers(3, lambda world: Worker(world, period=4, outer=outer).resumed(kept).update(7))
    for found, expected in zip(goes_on, trained(3, times + 7, period=4, outer=outer), strict=True):
        assert torch.equal(found.values(), expected.values())


def test_saving_changes_nothing() -> None:
    def often(world: Threads) -> torch.Tensor:
        worker = Worker(world, period=3, outer={})
        for _ in range(8):
            worker.update(1).saved()
        return worker.values()

    for found, expected in zip(on_workers(2, often), trained(2, 8, period=3, outer={}), strict=True):
        assert torch.equal(found, expected.values())


def test_other_workers_end_the_period_from_the_same_anchor_with_the_same_momentum() -> None:
    """Six updates with three workers: an outer step, then two updates of the next period. All by hand."""
    outer = {"lr": 0.5, "momentum": 0.6, "nesterov": False}
    kept = saved(3, 6, period=4, outer=outer)
    anchor = trained(3, 4, period=4, outer=outer)[0].values()
    momentum = (Worker(Threads(0, 1, threading.Barrier(1), [None])).values() - anchor) / 0.5
    two = on_workers(2, lambda world: Worker(world, period=4, outer=outer).resumed(kept))
    assert torch.equal(two[0].values(), kept[0]["model"])
    assert torch.equal(two[1].values(), kept[0]["model"])

    def alone(rank: int) -> torch.Tensor:
        """Two updates by plain SGD with the mean of the three workers' momenta."""
        mean = torch.stack(
            [torch.cat([one["own"][f"local_sgd.state.{i}.momentum_buffer"].flatten() for i in (0, 1)]) for one in kept]
        ).mean(0)
        values = kept[0]["model"]
        for _ in range(2):
            mean = 0.9 * mean + values - rank
            values = values - 0.1 * mean
        return values

    average = (alone(0) + alone(1)) / 2
    expected = anchor - 0.5 * (0.6 * momentum + anchor - average)
    found = on_workers(2, lambda world: Worker(world, period=4, outer=outer).resumed(kept).update(2).values())
    for values in found:
        torch.testing.assert_close(values, expected, rtol=1e-5, atol=1e-6)


def test_what_is_alike_is_kept_once() -> None:
    kept = saved(3, 6, period=4, outer={})
    assert [len(one["own"]["local_sgd.momentum"]) for one in kept] == [3, 3, 3]
    assert (
        kept[0]["own"].keys() - {"local_sgd.parameters", "local_sgd.anchor"}
        == saved(3, 4, period=4, outer={})[0]["own"].keys()
    ), "parameters are a worker's own between two averages only"


def test_another_strategys_rows_begin_a_period() -> None:
    """Also those of so many workers, with names of their own."""
    kept = saved(2, 2, period=4)
    for one in kept:
        one["own"] = {"adasum.state.0.momentum_buffer": torch.full((2, 2), 9.0)}
    found = on_workers(2, lambda world: Worker(world, period=4).resumed(kept).update(3).values())
    assert not torch.equal(found[0], found[1])
    found = on_workers(2, lambda world: Worker(world, period=4).resumed(kept).update(4).values())
    assert torch.equal(found[0], found[1])


def test_nesterov_without_momentum_is_refused() -> None:
    with pytest.raises(ValidationError, match="nesterov needs momentum"):
        local_sgd.Config(outer={"momentum": 0.0})
    local_sgd.Config(outer={"momentum": 0.0, "nesterov": False})
