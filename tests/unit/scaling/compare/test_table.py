from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from hvdtrain.metrics.strategies import Comparison, StrategyRecord, StrategyResult
from hvdtrain.scaling.compare.run import Runs
from hvdtrain.scaling.compare.table import make_comparison

Make = Callable[..., list[StrategyRecord]]
SETTINGS: dict[str, Any] = {
    "name": "small", "recipe": "small.yaml", "created": "2026-01-01", "command": "hvdtrain compare", "workers": 2,
    "rounds": 2, "steps": 15, "warmup": 5,
}  # fmt: skip


def compared(**strategies: list[list[StrategyRecord]]) -> Comparison:
    done = {name: dict(enumerate(rounds)) for name, rounds in strategies.items()}
    return make_comparison(Runs(done=done), SETTINGS)


def of(comparison: Comparison, name: str) -> StrategyResult:
    return next(one for one in comparison.results if one.strategy == name)


def test_the_fastest_comes_first_and_the_floor_last(make_run: Make) -> None:
    found = compared(none=[make_run(0.1)], slow=[make_run(0.3)], fast=[make_run(0.2)])
    assert [one.strategy for one in found.results] == ["fast", "slow", "none"]
    assert of(found, "none").sync_tax is None


def test_the_tax_is_taken_within_each_round(make_run: Make) -> None:
    """The machine was twice as slow in the second round: the tax is not."""
    found = compared(none=[make_run(0.1), make_run(0.2)], allreduce=[make_run(0.11), make_run(0.22)])
    tax = of(found, "allreduce").sync_tax
    assert tax is not None
    assert (tax.low, tax.median, tax.high) == pytest.approx((0.1, 0.1, 0.1))
    step = of(found, "allreduce").step
    assert (step.low, step.median, step.high) == pytest.approx((0.11, 0.165, 0.22))
    assert of(found, "allreduce").tokens_per_second == pytest.approx((10_000 / 1.1 + 10_000 / 2.2) / 2)


def test_a_round_without_its_floor_has_no_tax(make_run: Make) -> None:
    runs = Runs(done={"none": {0: make_run(0.1)}, "x": {0: make_run(0.12), 1: make_run(0.9)}})
    tax = of(make_comparison(runs, SETTINGS), "x").sync_tax
    assert tax is not None
    assert (tax.median, tax.launches) == (pytest.approx(0.2), 1)


def test_workers_that_differ_are_each_counted(make_run: Make) -> None:
    """A server beside the workers holds all of the optimizer's state; models apart have losses of their own."""
    served = make_run(
        0.2, state_bytes=[16_000_000, 0], bytes_per_step=[1e6, 2e6], server_bytes_per_step=[4e6, None],
        sent_bytes=[3e6, 1e6], memory_bytes=[500_000_000, 400_000_000],
    )  # fmt: skip
    apart = make_run(0.1, train_loss=[1.0, 2.0], metrics=[{"loss": 2.0}, {"loss": 4.0}], coupled=False)
    found = compared(none=[apart], parameter_server=[served])
    server, floor = of(found, "parameter_server"), of(found, "none")
    assert server.state_bytes == (16_000_000, 0)
    assert (server.bytes_per_step, server.server_bytes_per_step, server.sent_bytes) == (2e6, 4e6, 3e6)
    assert server.memory_bytes == (500_000_000, 400_000_000)
    assert (floor.train_loss.median, floor.validation.median) == (1.5, 3.0)


def test_the_verdict_names_the_fastest_the_smallest_and_who_loses(make_run: Make) -> None:
    found = compared(
        none=[make_run(0.1), make_run(0.1)],
        exact=[make_run(0.2), make_run(0.21)],
        local=[make_run(0.12, metrics={"loss": 2.6}), make_run(0.11, metrics={"loss": 2.6})],
        lean=[make_run(0.3, memory_bytes=300_000_000), make_run(0.3, memory_bytes=300_000_000)],
    )
    speed, memory, loss = found.verdict
    assert speed.startswith("local is the fastest: 115 ms an update, +15.0 % against")
    assert "the slowest, lean, takes 2.61 times as long" in speed
    assert memory.startswith("lean needs the least memory: 300 MB")
    assert loss == "After 15 updates the best validation loss is 2.5000 (exact); local's is 4.0 % above it."


def test_times_that_overlap_are_no_verdict(make_run: Make) -> None:
    found = compared(none=[make_run(0.1)] * 2, a=[make_run(0.2), make_run(0.22)], b=[make_run(0.21), make_run(0.24)])
    assert found.verdict[0].startswith("a is the fastest, but its times and those of b overlap")
    assert found.verdict[2] == "After 15 updates all have the same validation loss within 0.5 %: 2.5000."
    once = make_comparison(Runs(done={"a": {0: make_run(0.1)}, "b": {0: make_run(0.2)}}), SETTINGS | {"rounds": 1})
    assert "a single round, which proves little" in once.verdict[0]


def test_a_task_without_a_loss_is_judged_by_its_objective(make_run: Make) -> None:
    def run(value: float) -> list[StrategyRecord]:
        return make_run(metrics={"return": value}, objective=("return", "max"))

    found = compared(none=[run(1.0)], good=[run(100.0)], bad=[run(90.0)])
    assert (found.metric, found.mode) == ("return", "max")
    assert found.verdict[-1] == "After 15 updates the best return is 100.0000 (good); bad's is 10.0 % below it."


def test_a_loss_that_is_not_a_number_is_named(make_run: Make) -> None:
    bad = make_run(0.05, metrics={"loss": float("nan")})
    found = compared(none=[make_run()], bad=[bad], good=[make_run()])
    assert found.verdict[-1] == "After 15 updates the best validation loss is 2.5000 (good); bad's is no number."
    again = Comparison.model_validate_json(found.model_dump_json())
    assert again.results[0].strategy == "bad"
    assert again.results[0].validation.median != again.results[0].validation.median


def test_nothing_measured_is_an_empty_comparison() -> None:
    found = make_comparison(Runs(refused={"a": "why"}, failed={"b": "died"}, stopped=130), SETTINGS)
    assert (found.results, found.verdict) == ((), ())
    assert [(one.strategy, one.failed) for one in found.refused] == [("a", False), ("b", True)]
