"""The cost of an all-reduce, against a simulated ring and against least squares by numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hvdtrain.scaling.prediction.allreduce_cost import (
    Fit,
    Software,
    allreduce_seconds,
    fit_ring,
    hierarchical_seconds,
    ring_seconds,
)
from hvdtrain.scaling.prediction.links import UNLIMITED, Cluster, Link


def simulated_ring(size: float, links: list[tuple[float, float]]) -> float:
    """An all-reduce chunk by chunk: worker i sends to i + 1 over links[i], an (a, b) each; sums cost nothing.

    A worker sends a chunk when it has received it and its link is free. What is on its way does not hold the next up.
    """
    n = len(links)
    has = [0.0] * n  # when worker i has what it sends in this step
    free = [0.0] * n
    for _ in range(2 * (n - 1)):
        arrived = [0.0] * n
        for i, (a, b) in enumerate(links):
            sent = max(has[i], free[i]) + size / n * b
            free[i] = sent
            arrived[(i + 1) % n] = sent + a
        has = arrived
    return max(has)


@pytest.mark.parametrize("n", [2, 3, 4, 7, 16])
@pytest.mark.parametrize("size", [0.0, 4096.0, 20e6])
def test_the_ring_costs_what_its_steps_cost(n: int, size: float) -> None:
    assert ring_seconds(size, n, 50e-6, 8e-9, 0.0) == pytest.approx(simulated_ring(size, [(50e-6, 8e-9)] * n))


def test_summing_is_done_n_minus_1_times_on_an_nth() -> None:
    without = ring_seconds(1e6, 4, 0.0, 1e-9, 0.0)
    assert ring_seconds(1e6, 4, 0.0, 1e-9, 2e-10) - without == pytest.approx(3 * 1e6 / 4 * 2e-10)


def test_one_worker_pays_nothing() -> None:
    assert allreduce_seconds(1e9, Cluster(1, Link(1e6)), Software(1, 1, 1, 1)) == 0.0


@pytest.mark.parametrize(("hosts", "local"), [(2, 4), (8, 4), (16, 8)])
@pytest.mark.parametrize("size", [64.0, 1e5, 500e6])
def test_a_flat_ring_over_hosts_goes_at_the_pace_of_the_slowest_link(hosts: int, local: int, size: float) -> None:
    outer, inner = Link(3e9, 20e-6, payload=1.0), Link(50e9, 3e-6, payload=1.0)
    cluster = Cluster(hosts * local, outer, inner, local)
    links = ([(inner.latency, 1 / 50e9)] * (local - 1) + [(outer.latency, 1 / 3e9)]) * hosts
    assert allreduce_seconds(size, cluster, Software()) == pytest.approx(simulated_ring(size, links), rel=0.1)


def test_on_one_host_the_outer_link_does_not_count() -> None:
    fast = Cluster(4, Link(1e3), Link(1e9, payload=1.0), per_host=4)
    assert allreduce_seconds(1e6, fast, Software()) == pytest.approx(1.5 * 1e6 / 1e9)


def test_hierarchical_adds_its_three_stages() -> None:
    """8 workers on 2 hosts: reduce-scatter and all-gather of 3/4 S inside, and 2 x 1/2 S through each host's link."""
    outer, inner = Link(1e9, 30e-6, payload=1.0), Link(10e9, 5e-6, payload=1.0)
    seconds = hierarchical_seconds(40e6, Cluster(8, outer, inner, 4, hierarchical=True), Software(reduce=1e-10))
    scatter = 3 * (5e-6 + 10e6 * (1e-10 + 1e-10))
    gather = 3 * (5e-6 + 10e6 * 1e-10)
    # four workers of a host exchange halves of 10 MB each over one link: 2 steps of 20 MB
    across = 2 * 30e-6 + 2 * 20e6 / 1e9 + 5e6 * 1e-10
    assert seconds == pytest.approx(scatter + across + gather)


def test_hierarchical_has_less_latency_and_the_same_outer_bytes() -> None:
    outer, inner = Link(3e9, 20e-6), Link(100e9, 20e-6)
    flat, tree = (Cluster(512, outer, inner, 4, hierarchical=h) for h in (False, True))
    assert allreduce_seconds(4, tree, Software()) < 0.3 * allreduce_seconds(4, flat, Software())
    assert allreduce_seconds(1e9, tree, Software()) == pytest.approx(allreduce_seconds(1e9, flat, Software()), rel=0.06)


def test_a_slow_host_limits_a_fast_link_but_not_a_slow_one() -> None:
    software = Software(seconds_per_byte=1e-9)
    fast, slow = Cluster(2, Link(1e12)), Cluster(2, Link(1e6, payload=1.0))
    assert allreduce_seconds(1e6, fast, software) == pytest.approx(1e-3)
    assert allreduce_seconds(1e6, slow, software) == pytest.approx(1.0)


def test_workers_of_a_host_share_its_cores() -> None:
    software = Software(seconds_per_byte=1e-9, processor=1e-9)
    at = {m: allreduce_seconds(1e6, Cluster(m, UNLIMITED, per_host=m, cores=2), software) for m in (2, 8)}
    assert at[2] == pytest.approx(1e-3)
    assert at[8] == pytest.approx(4e-3)  # 8 ms of processor time on two cores


SIZES = [4096.0, 65536.0, 2.0**20, 2.0**22, 2.0**24]


@pytest.mark.parametrize("n", [2, 3, 8])
def test_the_fit_finds_the_constants_that_made_the_times(n: int) -> None:
    a, b, g, wait = 120e-6, 0.8e-9, 0.1e-9, 15e-3
    # The engine's negotiation is a tiny all-reduce of its own: twice the latencies.
    rows = [(s, wait + 2 * (n - 1) * a + ring_seconds(s, n, a, b, g)) for s in SIZES]
    fit = fit_ring(rows, n, g, wait)
    assert isinstance(fit, Fit)
    assert (fit.latency, fit.seconds_per_byte) == (pytest.approx(a), pytest.approx(b))
    assert fit.error < 1e-9
    assert fit.sizes == 5


def test_the_fit_is_numpys_on_noisy_times_without_outliers() -> None:
    """Residuals all of one size: Huber's weights are then 1, and plain weighted least squares is the reference."""
    n, g = 4, 0.05e-9
    rows = [
        (s, (6 * 200e-6 + ring_seconds(s, n, 200e-6, 2e-9, g)) * (1 + 0.03 * (-1) ** i)) for i, s in enumerate(SIZES)
    ]
    fit = fit_ring(rows, n, g)
    assert isinstance(fit, Fit)
    sizes, took = np.array(rows).T
    share = (n - 1) / n
    design = np.stack([4 * (n - 1) * np.ones_like(sizes), 2 * share * sizes], axis=1) / took[:, None]
    expected, *_ = np.linalg.lstsq(design, (took - share * sizes * g) / took, rcond=None)
    assert [fit.latency, fit.seconds_per_byte] == pytest.approx(expected, rel=0.02)


def test_a_few_disturbed_measurements_move_the_fit_little() -> None:
    rng = np.random.default_rng(0)
    rows = [
        (s, (4 * 1e-4 + 2 * 0.5 * s * 1e-9) * (1 + 0.01 * rng.standard_normal())) for s in np.geomspace(4e3, 6e7, 12)
    ]
    for i in (2, 6, 9):
        rows[i] = (rows[i][0], 1.6 * rows[i][1])
    fit = fit_ring(rows, 2, 0.0)
    assert isinstance(fit, Fit)
    assert fit.latency == pytest.approx(1e-4, rel=0.03)
    assert fit.seconds_per_byte == pytest.approx(1e-9, rel=0.03)


def test_constants_are_never_negative() -> None:
    """Small buffers faster than a straight line allows: latency would come out below 0."""
    fit = fit_ring([(1e5, 0.5e-4), (1e6, 1e-3), (1e7, 1.2e-2)], 2, 0.0)
    assert isinstance(fit, Fit)
    assert fit.latency == 0.0
    assert fit.seconds_per_byte > 0
    fit = fit_ring([(1e5, 3e-3), (1e6, 2e-3), (1e7, 1e-3)], 2, 0.0)
    assert isinstance(fit, Fit)
    assert fit.latency > 0
    assert fit.seconds_per_byte == 0.0


def test_too_few_sizes_give_the_reason_instead_of_a_fit() -> None:
    assert "2 different sizes" in str(fit_ring([(4096, 1e-3), (4096, 1.1e-3), (1e6, 2e-3)], 2, 0.0))
    assert "one worker" in str(fit_ring([(s, 1e-3) for s in SIZES], 1, 0.0))
    assert not math.isnan(ring_seconds(1, 1, 1, 1, 1))
