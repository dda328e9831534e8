"""Predictions at the limits that they must meet, and the search for the number of workers that still pays."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hvdtrain.errors import UserError
from hvdtrain.metrics.records import PHASES
from hvdtrain.scaling.prediction.allreduce_cost import Software, ring_seconds
from hvdtrain.scaling.prediction.bounds import diagnosis
from hvdtrain.scaling.prediction.links import UNLIMITED, Cluster, Link
from hvdtrain.scaling.prediction.model import StepProfile, Workload, assumed_times, find_limit, predict
from hvdtrain.scaling.prediction.overlap import Engine, Gradient

PROFILE = StepProfile(data=0.002, forward=0.1, backward=0.2, optimizer=0.01, other=0.003)
WORK = Workload(
    profile=PROFILE,
    gradients=tuple(Gradient(2_000_000, (i + 1) / 10) for i in range(10)),
    engine=Engine(cycle=1e-3, fusion_bytes=32e6),
    software=Software(),
    tokens=1024,
    samples=8,
)


def gigabits(rate: float, latency: float = 0.0) -> Link:
    return Link(rate * 1e9 / 8, latency)


def at(workers: int, link: Link, work: Workload = WORK, **more: object) -> float:
    return predict(work, Cluster(workers, link, **more)).step  # type: ignore[arg-type]


def test_one_worker_is_the_floor() -> None:
    found = predict(WORK, Cluster(1, gigabits(0.001)))
    assert found.step == pytest.approx(0.315)
    assert (found.efficiency, found.speedup, found.exposed) == (1.0, 1.0, 0.0)
    assert found.tokens_per_second == pytest.approx(1024 / 0.315)


def test_without_gradients_or_with_a_link_of_no_cost_the_step_is_the_floor() -> None:
    assert at(64, gigabits(1), replace(WORK, gradients=())) == pytest.approx(0.315)
    assert at(64, UNLIMITED, replace(WORK, engine=Engine(1e-7, 32e6))) == pytest.approx(0.315, abs=1e-6)


def test_on_an_unlimited_link_only_latency_is_left() -> None:
    """The last tensor's buffer: the ring's latencies once to negotiate and once to reduce."""
    link = Link(float("inf"), 50e-6)
    assert at(8, link, replace(WORK, engine=Engine(1e-7, 32e6))) == pytest.approx(0.315 + 2 * 14 * 50e-6, abs=1e-4)


def test_when_all_gradients_come_at_the_end_the_parts_add_up() -> None:
    work = replace(WORK, gradients=(Gradient(20_000_000, 1.0),), engine=Engine(1e-7, 32e6))
    link = gigabits(1)
    assert at(4, link, work) == pytest.approx(0.315 + ring_seconds(20e6, 4, 0, link.seconds_per_byte, 0), rel=1e-4)


def test_steps_grow_with_the_workers_and_shrink_with_the_rate() -> None:
    steps = [at(n, gigabits(1, 30e-6)) for n in (1, 2, 4, 16, 64, 512)]
    assert steps == sorted(steps)
    rates = [at(16, gigabits(rate, 30e-6)) for rate in (0.1, 0.2, 1, 10, 100)]
    assert rates == sorted(rates, reverse=True)


def test_the_split_has_all_phases_and_sums_to_the_step() -> None:
    work = replace(WORK, threads=1, software=Software(processor=5e-10), engine=Engine(1e-3, 32e6, polling=2e-5))
    work = replace(work, profile=replace(PROFILE, spread=tuple(np.linspace(-0.01, 0.01, 21))))
    found = predict(work, Cluster(4, gigabits(1), per_host=2, cores=2))
    assert set(found.split) == {"step", *PHASES}
    assert sum(found.split[name] for name in PHASES) == pytest.approx(found.split["step"])
    assert found.split["imbalance"] > 0
    assert found.stolen > 0
    assert found.polling == pytest.approx(0.315 * 0.02)
    assert found.split["forward"] == pytest.approx(0.1 * 1.02)
    assert found.split["backward"] == pytest.approx(0.2 * 1.02 + found.stolen)


def test_only_the_last_of_several_passes_hides_communication() -> None:
    """Four passes of 50 ms: what 1 s of communication has to hide behind is one of them, not all."""
    slow, once = gigabits(0.16, 0.0), replace(PROFILE, passes=1)
    exposed = {
        passes: predict(replace(WORK, profile=replace(once, passes=passes)), Cluster(2, slow)).exposed
        for passes in (1, 4)
    }
    assert exposed[4] - exposed[1] == pytest.approx((0.2 - 0.05) * 0.9, abs=0.01)


def test_the_slowest_of_n_is_what_drawing_n_workers_gives() -> None:
    rng = np.random.default_rng(3)
    steps = rng.gamma(2.0, 0.01, 4000)
    profile = replace(PROFILE, spread=tuple(steps - np.median(steps)))
    for n in (2, 8, 32):
        drawn = np.median(rng.choice(steps, (20_000, n)).max(axis=1)) - np.median(steps)
        assert profile.slowest_of(n) == pytest.approx(drawn, rel=0.05)
    assert profile.slowest_of(1) == 0.0


def test_strong_scaling_shares_the_batch_and_compares_with_all_of_it() -> None:
    work = WORK.share_of(64, 4, 8)
    assert work.samples == 16
    assert work.profile.passes == 2
    assert work.profile.backward == pytest.approx(0.4)
    alone = WORK.share_of(64, 1, 8).profile
    assert alone.forward == pytest.approx(0.8)
    found = predict(work, Cluster(4, UNLIMITED), alone)
    # The optimizer and the rest do not shrink with the batch.
    assert found.speedup == pytest.approx(alone.step / found.step)
    assert found.efficiency == pytest.approx(found.speedup / 4)
    assert found.efficiency < 1.0
    with pytest.raises(
        UserError, match=r"batch_size 64 can't be cut into 5 equal shares; these .* 1, 2, 4, 8, 16, 32, 64"
    ):
        WORK.share_of(64, 5, 8)


def test_shares_smaller_than_a_micro_batch_get_one_that_divides_them() -> None:
    work = WORK.share_of(24, 4, 4)
    assert (work.samples, work.profile.passes) == (6, 2)  # 3 and 3


@pytest.mark.parametrize("per_host", [1, 4, 8])
@pytest.mark.parametrize("scale", [3.3, 17, 41, 66, 100, 130, 177, 301, 500, 700])
def test_the_limit_is_found_as_by_trying_every_number(per_host: int, scale: float) -> None:
    def efficiency(n: int) -> float:
        return 1 / (1 + n / scale)

    tried = [n for n in range(1, 5000) if efficiency(n) >= 0.8 and (n < per_host or n % per_host == 0)]
    assert find_limit(efficiency, 0.8, per_host) == max(tried, default=0)


def test_a_limit_beyond_the_search_is_none() -> None:
    assert find_limit(lambda n: 0.99, 0.9, 4) is None


def test_backward_is_assumed_to_reach_parameters_in_reverse_by_their_bytes() -> None:
    found = assumed_times([100, 300, 600])
    assert [g.bytes for g in found] == [600, 300, 100]
    assert [g.ready for g in found] == pytest.approx([0.6, 0.9, 1.0])


@pytest.mark.parametrize(
    ("work", "cluster", "said"),
    [
        (WORK, Cluster(8, gigabits(100)), "computation is the bound"),
        (WORK, Cluster(8, gigabits(0.5)), "bandwidth is the bound"),
        (replace(WORK, engine=Engine(1e-3, 0)), Cluster(256, gigabits(100, 50e-6)), "latency is the bound"),
        (
            replace(WORK, engine=Engine(0.2, 32e6)),
            Cluster(2, gigabits(100)),
            "the engine's cycle of 200 ms is the bound",
        ),
        (
            replace(WORK, profile=replace(PROFILE, spread=(-0.1, -0.05, 0.0, 0.1, 0.2))),
            Cluster(8, gigabits(100)),
            "wait for the slowest worker is the bound",
        ),
        (
            replace(WORK, engine=Engine(1e-3, 32e6, polling=3e-4)),
            Cluster(2, gigabits(100)),
            "engine takes from the training are the bound",
        ),
        (WORK, Cluster(1, gigabits(1)), "One worker"),
    ],
)
def test_the_diagnosis_names_what_was_made_the_bound(work: Workload, cluster: Cluster, said: str) -> None:
    assert said in diagnosis(work, cluster, predict(work, cluster))
