"""What a trial's records tell a prediction, on records whose every constant is known."""

from __future__ import annotations

from typing import Any

import pytest

from hvdtrain.metrics.records import TrialRecord
from hvdtrain.scaling.prediction.allreduce_cost import ring_seconds
from hvdtrain.scaling.prediction.calibration import (
    calibrate,
    cycle_wait,
    engine,
    gradients,
    processor_per_byte,
    profile,
)
from hvdtrain.scaling.prediction.links import UNLIMITED, Cluster
from hvdtrain.scaling.prediction.model import predict

A, B, G = 200e-6, 0.9e-9, 0.1e-9
CYCLE = 0.02


def step(seconds: float) -> dict[str, float]:
    parts = {"data": 0.001, "forward": 0.1, "backward": seconds - 0.116, "optimizer": 0.01, "wait": 0.0}
    return {**parts, "step": seconds, "busy": seconds}


def trial(rank: int, **changes: Any) -> TrialRecord:
    """A worker whose all-reduces wait 15 ms for the cycle, and work 0.4 ns of a core for each byte."""
    sizes = [4096.0, 2.0**20, 2.0**22, 2.0**24]
    took = [0.015 + 2 * A + ring_seconds(s, 2, A, B, G) for s in sizes]
    known: dict[str, Any] = {
        "step": 5,
        "rank": rank,
        "world_size": 2,
        "host": "a",
        "local_size": 2,
        "cores": 8,
        "threads": 1,
        "device": "CPU",
        "precision": "fp32",
        "controller": "gloo",
        "engine": {"HOROVOD_CYCLE_TIME": "20 (auto)", "HOROVOD_FUSION_THRESHOLD": "33554432 (auto)"},
        "global_batch_size": 16,
        "micro_batch_size": 8,
        "gradient_accumulation_steps": 1,
        "samples": 16,
        "tokens": 2048,
        "wall": 1.0,
        "floor": tuple(step(s) for s in (0.29, 0.3, 0.3, 0.31, 0.5)),
        "idle": tuple(step(s) for s in (0.3, 0.303, 0.303)),
        "allreduce": tuple(zip(sizes, took, strict=True)),
        "allreduce_processor": 0.4e-9 * sizes[-1],
        "latencies": tuple(2 * A + 2 * A + wait for wait in (0.0, 0.005, 0.01, 0.015)),
        "gradients": ((1000, 0.1 + 0.02 * rank, "b"), (4000, 0.18, "a")),
        "reduce_seconds_per_byte": G,
    }
    return TrialRecord(**known | changes)


TRIALS = [trial(0), trial(1)]


def test_the_fit_finds_the_links_constants_through_the_wait_for_the_cycle() -> None:
    measured = calibrate(TRIALS)
    assert cycle_wait(TRIALS) == pytest.approx(0.015, rel=1e-3)
    assert measured.fit is not None
    assert measured.work.software.latency == pytest.approx(A, rel=0.01)
    assert measured.work.software.seconds_per_byte == pytest.approx(B, rel=0.01)
    assert measured.work.software.reduce == G


def test_the_engines_processor_time_is_that_of_the_largest_all_reduce() -> None:
    assert processor_per_byte(TRIALS) == pytest.approx(0.4e-9, rel=0.01)
    assert processor_per_byte([trial(0, device="NVIDIA H100"), trial(1)]) == 0.0


def test_the_profile_is_the_median_step_and_its_parts_sum_to_it() -> None:
    found = profile(TRIALS)
    assert found.step == pytest.approx(0.3)
    assert found.backward == pytest.approx(0.184)
    assert found.other == pytest.approx(0.005)
    assert sorted(found.spread)[::2] == pytest.approx([-0.01, 0.0, 0.0, 0.01, 0.2])


def test_skewed_parts_are_fitted_into_the_median_step() -> None:
    """Forward and backward are slow in turns: the medians of the parts alone would exceed the median of the steps."""
    turns = [(0.1, 0.3), (0.2, 0.1), (0.2, 0.3)]
    floor = tuple(
        {"data": 0.0, "forward": f, "backward": b, "optimizer": 0.0, "wait": 0.0, "step": f + b, "busy": f + b}
        for f, b in turns
    )
    found = profile([trial(0, floor=floor)])
    assert found.step == pytest.approx(0.4)
    assert (found.forward, found.backward) == (pytest.approx(0.16), pytest.approx(0.24))


def test_gradients_are_the_mean_workers_in_backwards_order() -> None:
    found = gradients(TRIALS)
    assert [(g.bytes, g.ready) for g in found] == [(1000, pytest.approx(0.11)), (4000, pytest.approx(0.18))]
    assert [(g.bytes, g.dtype) for g in gradients(TRIALS, "fp16")] == [(500, "float16"), (2000, "float16")]


def test_polling_is_what_steps_beside_an_idle_engine_take_longer() -> None:
    found = engine(TRIALS)
    assert (found.cycle, found.fusion_bytes) == (CYCLE, 2**25)
    assert found.polling / found.cycle == pytest.approx(0.01)
    # Noise is not taken for polling: no cycle costs more than the luckiest all-reduce.
    noisy = tuple(step(0.6) for _ in range(3))
    assert engine([trial(0, idle=noisy), trial(1, idle=noisy)]).polling == pytest.approx(4 * A)


def test_a_worker_that_is_always_slow_makes_the_others_wait() -> None:
    slow = trial(1, floor=tuple(step(0.4) for _ in range(5)))
    quick = trial(0, floor=tuple(step(0.3) for _ in range(5)))
    found = profile([quick, slow])
    assert found.step == pytest.approx(0.35)
    assert found.slowest_of(2) == pytest.approx(0.05)


def test_one_worker_has_no_links_to_fit_and_says_so() -> None:
    alone = trial(0, world_size=1, local_size=1, allreduce=(), latencies=(), idle=(), engine={}, samples=8, tokens=1024)
    measured = calibrate([alone])
    assert measured.fit is None
    assert "one worker" in measured.reason
    assert (measured.work.tokens, measured.work.samples) == (1024, 8)


def test_too_few_sizes_are_no_fit_but_a_reason() -> None:
    few = [trial(r, allreduce=TRIALS[0].allreduce[:2]) for r in (0, 1)]
    assert calibrate(few).fit is None
    assert "2 different sizes" in calibrate(few).reason


def test_a_prediction_from_records_of_the_same_workers_holds_together() -> None:
    work = calibrate(TRIALS).work
    found = predict(work, Cluster(2, UNLIMITED, per_host=2, cores=8))
    # 5 kB on two of eight cores: what is left is the cycle, on average half of one, two latencies and the spread
    assert found.step == pytest.approx(0.3 * 1.01 + CYCLE / 2 + 4 * A + work.profile.slowest_of(2), rel=0.02)
