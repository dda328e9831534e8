from __future__ import annotations

import random
from statistics import median

import numpy as np
import pytest

from hvdtrain.metrics.study import ScalabilityLaw
from hvdtrain.scaling.sweep.efficiency import fit_law, interval, karp_flatt, speedup


def test_a_single_launch_has_no_spread_and_few_have_a_range() -> None:
    assert interval([3.0]).kind == "one launch"
    few = interval([3.0, 1.0, 2.0])
    assert (few.median, few.low, few.high, few.kind) == (2.0, 1.0, 3.0, "range")


def test_five_launches_give_a_bootstrap_interval_within_their_range() -> None:
    values = [1.0, 1.1, 1.2, 1.3, 9.0]
    found = interval(values)
    assert found.kind == "95 % bootstrap interval"
    assert (found.median, found.launches) == (1.2, 5)
    draw = np.random.default_rng(3)
    medians = np.median(draw.choice(values, size=(20000, 5)), axis=1)
    assert found.low == pytest.approx(np.quantile(medians, 0.025), abs=0.11)
    assert found.high == pytest.approx(np.quantile(medians, 0.975), abs=0.11)


def test_the_interval_covers_the_true_median_about_as_often_as_it_says() -> None:
    source, covered = random.Random(5), 0
    for _ in range(200):
        found = interval([source.gauss(10, 1) for _ in range(15)])
        covered += found.low <= 10 <= found.high
    assert 0.88 <= covered / 200 <= 1.0


def test_an_interval_repeats() -> None:
    values = [random.Random(1).random() for _ in range(7)]
    assert interval(values) == interval(values)
    assert interval(values).median == median(values)


def test_speedup_is_of_throughput_where_work_grows_and_of_time_where_it_does_not() -> None:
    assert speedup("weak", 100.0, 180.0) == 1.8
    assert speedup("strong", 2.0, 1.25) == 1.6


@pytest.mark.parametrize("serial", [0.0, 0.05, 0.3, 1.0])
def test_karp_flatt_finds_the_serial_part_of_amdahls_law(serial: float) -> None:
    for n in (2, 4, 64):
        assert karp_flatt(1 / (serial + (1 - serial) / n), n) == pytest.approx(serial)
    assert karp_flatt(1.0, 1) is None


def law(n: np.ndarray, rate: float, s: float, k: float) -> np.ndarray:
    return rate * n / (1 + s * (n - 1) + k * n * (n - 1))


def test_the_scalability_law_is_found_again() -> None:
    n = np.array([1, 2, 4, 8, 16])
    found = fit_law("weak", n.tolist(), law(n, 100.0, 0.05, 0.002).tolist())
    assert isinstance(found, ScalabilityLaw)
    assert (found.rate, found.contention, found.coherence) == pytest.approx((100.0, 0.05, 0.002), rel=1e-6)
    assert found.peak_workers == pytest.approx((0.95 / 0.002) ** 0.5)
    best = max(range(1, 100), key=lambda m: float(law(np.array(m), 100.0, 0.05, 0.002)))
    assert abs(found.peak_workers - best) <= 1


def test_superlinear_rates_do_not_make_negative_parameters() -> None:
    found = fit_law("weak", [1, 2, 4, 8], [100.0, 210.0, 430.0, 900.0])
    assert isinstance(found, ScalabilityLaw)
    assert found.contention >= 0
    assert found.coherence >= 0


def test_three_sizes_are_not_fitted_and_the_reason_is_given() -> None:
    reason = fit_law("strong", [1, 2, 4], [1.0, 1.9, 3.5])
    assert isinstance(reason, str)
    assert "3 sizes" in reason
    assert "no fit under 4" in reason
