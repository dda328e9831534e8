"""Each cause from times in which it was put; tests/parallel/test_diagnosis.py creates the causes for real."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from hvdtrain.metrics.records import TrialRecord
from hvdtrain.metrics.study import Diagnosis
from hvdtrain.scaling.sweep.diagnosis import diagnose
from hvdtrain.scaling.sweep.losses import losses

Make = Callable[..., TrialRecord]
Steps = Callable[..., Any]


def diagnosis(make: Make, alone: dict[str, Any], *workers: dict[str, Any], oversubscribed: str = "") -> Diagnosis:
    launch = [make(rank, len(workers), **changes) for rank, changes in enumerate(workers)]
    return diagnose("weak", losses("weak", [launch] * 3, [[make(**alone)]] * 3), oversubscribed)


def causes(found: Diagnosis) -> list[str]:
    return [finding.cause for finding in found.findings]


def test_a_healthy_run_is_told_that_nothing_is_worth_changing(make_trial: Make) -> None:
    found = diagnosis(make_trial, {}, {}, {})
    assert causes(found) == []
    assert found.verdict == (
        "Nothing is worth changing: 94 % of the step is what one worker alone needs, and the largest loss, 6 % to "
        "communication, is its usual price."
    )


def test_slow_data(make_trial: Make, make_steps: Steps) -> None:
    late = {"floor": make_steps(10, data=0.2), "synchronised": make_steps(10, data=0.2, wait=0.02),
            "idle": make_steps(10, data=0.2)}  # fmt: skip
    found = diagnosis(make_trial, {"floor": make_steps(10, data=0.2)}, late, late)
    assert causes(found) == ["slow-data"]
    assert found.findings[0].seconds == pytest.approx(0.2)
    assert "--synthetic" in found.findings[0].otherwise


def test_one_slow_worker_is_named_with_its_host(make_trial: Make, make_steps: Steps) -> None:
    fast = {"synchronised": make_steps(10, wait=0.22)}
    slow = {"floor": make_steps(10, forward=0.3), "idle": make_steps(10, forward=0.3), "host": "b",
            "synchronised": make_steps(10, forward=0.3, wait=0.02)}  # fmt: skip
    found = diagnosis(make_trial, {}, fast, fast, slow)
    assert causes(found) == ["slow-worker"]
    assert found.findings[0].seconds == pytest.approx(0.2)
    assert found.findings[0].title == "Worker 2 is slow, and all others wait for it"
    assert (
        "worker 2 on b takes 200 ms longer a step than the fastest; forward takes it 300 ms"
        in (found.findings[0].evidence[0])
    )


@pytest.mark.parametrize(
    ("oversubscribed", "changes", "cause", "change"),
    [
        ("2 workers x 8 threads on 2 cores", {"threads": 8, "cores": 2}, "oversubscription", "threads_per_worker=1"),
        ("2 workers x 1 thread on 1 core", {"threads": 1, "cores": 1}, "oversubscription", "-np 1"),
        ("", {}, "contention", "-np 1 train.threads_per_worker=2"),
        ("", {"processor": {"floor": {"wall": 1.0, "own": 1.0, "machine": 7.0}}}, "contention", "end the other"),
    ],
)
def test_contention(
    make_trial: Make, make_steps: Steps, oversubscribed: str, changes: dict[str, Any], cause: str, change: str
) -> None:
    crowded = {"floor": make_steps(10, backward=0.35), "idle": make_steps(10, backward=0.35),
               "synchronised": make_steps(10, backward=0.35, wait=0.02)}  # fmt: skip
    found = diagnosis(make_trial, {}, crowded | changes, crowded | changes, oversubscribed=oversubscribed)
    assert causes(found) == [cause]
    assert found.findings[0].seconds == pytest.approx(0.15)
    assert change in f"{found.findings[0].change} {found.findings[0].otherwise}"


def test_a_short_cycle_shows_beside_an_idle_engine(make_trial: Make, make_steps: Steps) -> None:
    changes = {"engine": {"HOROVOD_CYCLE_TIME": "0.1 (recipe)", "HOROVOD_FUSION_THRESHOLD": "33554432"},
               "idle": make_steps(10, backward=0.3),
               "synchronised": make_steps(10, backward=0.32, wait=0.02)}  # fmt: skip
    found = diagnosis(make_trial, {}, changes, changes)
    assert causes(found) == ["short-cycle"]
    assert found.findings[0].seconds == pytest.approx(0.12)
    assert found.findings[0].change == "sync.cycle_time_ms=17"


def test_a_long_cycle(make_trial: Make, make_steps: Steps) -> None:
    changes = {"engine": {"HOROVOD_CYCLE_TIME": "500 (recipe)", "HOROVOD_FUSION_THRESHOLD": "33554432"},
               "latencies": (0.01, 0.26, 0.5), "synchronised": make_steps(10, wait=0.2)}  # fmt: skip
    found = diagnosis(make_trial, {}, changes, changes)
    assert causes(found) == ["long-cycle"]
    assert found.findings[0].seconds == pytest.approx(0.2)


def test_gradients_that_are_not_fused(make_trial: Make, make_steps: Steps) -> None:
    changes = {"engine": {"HOROVOD_CYCLE_TIME": "20 (auto)", "HOROVOD_FUSION_THRESHOLD": "0 (recipe)"}, "tensors": 300,
               "bytes_per_step": 5_000_000, "allreduce_seconds": 0.12, "one_buffer_seconds": 0.02,
               "synchronised": make_steps(10, wait=0.13)}  # fmt: skip
    found = diagnosis(make_trial, {}, changes, changes)
    assert causes(found)[0] == "no-fusion"
    assert found.findings[0].seconds == pytest.approx(0.1)
    assert found.findings[0].change == "sync.fusion_threshold_mb=5"


def test_a_thin_link_needs_a_link(make_trial: Make, make_steps: Steps) -> None:
    changes = {"one_buffer_seconds": 0.9, "allreduce_seconds": 0.9, "synchronised": make_steps(10, wait=0.8)}
    found = diagnosis(make_trial, {}, changes | {"host": "a"}, changes | {"host": "b"})
    assert causes(found) == ["thin-link"]
    assert "0.18 Gbit/s" in found.findings[0].evidence[0]
    assert found.findings[0].change == "sync.compression=fp16"
    packed = changes | {"compression": "fp16"}
    found = diagnosis(make_trial, {}, packed | {"host": "a"}, packed | {"host": "b"})
    assert found.findings[0].change == "train.micro_batch_size=16 train.global_batch_size=32"
    assert causes(diagnosis(make_trial, {}, changes, changes)) == ["little-work"]


def test_too_little_work(make_trial: Make, make_steps: Steps) -> None:
    tiny = {"forward": 0.001, "backward": 0.002, "data": 0.0, "optimizer": 0.0}
    changes = {"floor": make_steps(10, **tiny), "idle": make_steps(10, **tiny), "one_buffer_seconds": 0.004,
               "allreduce_seconds": 0.004, "allreduce": ((4096.0, 0.003),), "latencies": (0.003, 0.003),
               "engine": {"HOROVOD_CYCLE_TIME": "1", "HOROVOD_FUSION_THRESHOLD": "33554432"},
               "synchronised": make_steps(10, **tiny, wait=0.004)}  # fmt: skip
    found = diagnosis(make_trial, {"floor": make_steps(10, **tiny)}, changes, changes)
    assert causes(found) == ["little-work"]
    assert found.findings[0].change == "train.micro_batch_size=128 train.global_batch_size=256"


def test_the_largest_loss_comes_first(make_trial: Make, make_steps: Steps) -> None:
    both = {"floor": make_steps(10, data=0.05, backward=0.4), "idle": make_steps(10, data=0.05, backward=0.4),
            "synchronised": make_steps(10, data=0.05, backward=0.4, wait=0.02)}  # fmt: skip
    found = diagnosis(make_trial, {"floor": make_steps(10, data=0.05)}, both, both)
    assert causes(found) == ["contention", "slow-data"]
    assert [f.seconds for f in found.findings] == sorted((f.seconds for f in found.findings), reverse=True)
    assert found.verdict.startswith("The workers of a host hold each other up: 200 ms of each step")


def test_strong_scaling_compares_with_a_share_of_the_batch(make_trial: Make, make_steps: Steps) -> None:
    """Four workers share 400 ms of forward and backward; each repeats the 100 ms of the optimizer."""
    alone = {"floor": make_steps(10, forward=0.1, backward=0.3, optimizer=0.1)}
    share = {"forward": 0.025, "backward": 0.075, "optimizer": 0.1}
    each = {"floor": make_steps(10, **share), "idle": make_steps(10, **share),
            "synchronised": make_steps(10, **share, wait=0.005)}  # fmt: skip
    found = losses("strong", [[make_trial(rank, 4, **each) for rank in range(4)]], [[make_trial(**alone)]])
    assert found.base == pytest.approx(0.2)
    assert found.contention == pytest.approx(0.0, abs=1e-9)
    assert found.unshared == pytest.approx(0.075)
    said = diagnose("strong", found)
    assert causes(said) == ["unshared-work"]
    assert said.findings[0].change == "train.micro_batch_size=16 train.global_batch_size=64"


def test_the_losses_sum_to_the_step(make_trial: Make, make_steps: Steps) -> None:
    a = {"floor": make_steps(10, backward=0.25), "idle": make_steps(10, backward=0.27),
         "synchronised": make_steps(10, backward=0.3, wait=0.08)}  # fmt: skip
    b = {"floor": make_steps(10, backward=0.3), "idle": make_steps(10, backward=0.31),
         "synchronised": make_steps(10, backward=0.35, wait=0.03)}  # fmt: skip
    found = losses("weak", [[make_trial(0, 2, **a), make_trial(1, 2, **b)]], [[make_trial()]])
    assert found.others["backward"] == pytest.approx(0.25)
    parts = found.base + found.data + found.contention + found.slow_worker
    assert parts + found.polling + found.engine + found.exposed == pytest.approx(found.step)


def test_a_worker_that_is_the_slowest_once_is_not_slow(make_trial: Make, make_steps: Steps) -> None:
    def launch(slow: int) -> list[TrialRecord]:
        late = {"floor": make_steps(10, forward=0.2), "synchronised": make_steps(10, forward=0.2, wait=0.02)}
        return [make_trial(rank, 3, **(late if rank == slow else {})) for rank in range(3)]

    by_chance = losses("weak", [launch(0), launch(1), launch(2)], [[make_trial()]])
    assert by_chance.slow_worker == 0.0
    always = losses("weak", [launch(1), launch(1), launch(2)], [[make_trial()]])
    assert (always.slowest, always.slow_worker) == (1, pytest.approx(0.1))
