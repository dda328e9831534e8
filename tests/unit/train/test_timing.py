from __future__ import annotations

import pytest
import torch

from hvdtrain.train import timing
from hvdtrain.train.timing import Stopwatch


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that tests move by hand."""
    now = [0.0]
    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])
    return now


def run_step(stopwatch: Stopwatch, clock: list[float]) -> None:
    stopwatch.start()
    for part, seconds in (("data", 1), ("forward", 2), ("backward", 4), ("wait", 8), ("optimizer", 16)):
        clock[0] += seconds
        stopwatch.mark(part)
    clock[0] += 32


def test_each_part_gets_the_time_since_the_mark_before(clock: list[float]) -> None:
    stopwatch = Stopwatch(torch.device("cpu"))
    run_step(stopwatch, clock)
    stopwatch.pause()
    [times] = stopwatch.drain()
    assert times == {"data": 1, "forward": 2, "backward": 4, "wait": 8, "optimizer": 16, "step": 63, "busy": 7}


def test_busy_counts_from_the_end_of_the_synchronisation_before(clock: list[float]) -> None:
    stopwatch = Stopwatch(torch.device("cpu"))
    run_step(stopwatch, clock)
    run_step(stopwatch, clock)
    stopwatch.pause()
    assert [times["busy"] for times in stopwatch.drain()] == [7, 7 + 16 + 32]


def test_a_pause_belongs_to_no_step(clock: list[float]) -> None:
    stopwatch = Stopwatch(torch.device("cpu"))
    run_step(stopwatch, clock)
    stopwatch.pause()
    clock[0] += 1000
    run_step(stopwatch, clock)
    stopwatch.pause()
    assert [(times["step"], times["busy"]) for times in stopwatch.drain()] == [(63, 7), (63, 7)]


def test_drain_gives_each_step_once(clock: list[float]) -> None:
    stopwatch = Stopwatch(torch.device("cpu"))
    run_step(stopwatch, clock)
    stopwatch.start()
    assert len(stopwatch.drain()) == 1
    assert stopwatch.drain() == []
