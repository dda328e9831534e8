"""What a run says of its logged steps at the end, and what it keeps of them for that."""

from __future__ import annotations

import tracemalloc
from statistics import mean, median

import pytest

from hvdtrain.metrics.records import PHASES, StepRecord
from hvdtrain.train.summary import Logged


def record(step: int) -> StepRecord:
    seconds = {name: step * (place + 1) / 8 for place, name in enumerate(PHASES)}
    return StepRecord(
        step=step,
        loss=1 / step,
        lr=0.1,
        grad_norm=1.0,
        samples=step,
        tokens=step,
        samples_per_second=float((step * 7) % 5),
        tokens_per_second=float((step * 5) % 7),
        world_size=2,
        seconds={"step": sum(seconds.values()), **seconds},
        memory_bytes=1000 - abs(step - 3),
    )


@pytest.mark.parametrize("count", [1, 2, 6])
def test_the_first_is_left_out_of_the_times_where_there_are_others(count: int) -> None:
    logged, records = Logged(), [record(step) for step in range(1, count + 1)]
    for one in records:
        logged.add(one)
    timed = records[1:] or records
    assert logged.rates() == (
        median(one.tokens_per_second for one in timed),
        median(one.samples_per_second for one in timed),
    )
    assert logged.split() == {
        name: pytest.approx(mean(one.seconds[name] for one in timed)) for name in ("step", *PHASES)
    }
    assert (logged.loss, logged.memory_bytes) == (1 / count, max(one.memory_bytes for one in records))


def test_of_nothing_nothing_is_said() -> None:
    assert (Logged().rates(), Logged().split(), Logged().loss, Logged().memory_bytes) == ((0.0, 0.0), {}, None, 0)


def test_a_long_run_does_not_keep_its_records() -> None:
    """They take nearly a kilobyte each."""
    logged = Logged()
    logged.add(record(1))
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for step in range(2, 5002):
        logged.add(record(step))
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 5000 * 40
