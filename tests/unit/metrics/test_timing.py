from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hvdtrain.metrics.records import PHASES
from hvdtrain.metrics.timing import bus_bandwidth, split


def times(busy: float, wait: float, step: float) -> dict[str, float]:
    return {
        "data": 0.1 * busy,
        "forward": 0.3 * busy,
        "backward": 0.6 * busy,
        "wait": wait,
        "optimizer": 0.05,
        "busy": busy,
        "step": step,
    }


def test_waiting_for_a_slower_worker_is_imbalance_and_the_rest_of_the_wait_communication() -> None:
    parts = split([[times(busy=1.0, wait=0.5, step=1.6)], [times(busy=1.4, wait=0.1, step=1.6)]])
    assert parts["imbalance"] == pytest.approx((0.4 + 0.0) / 2)
    assert parts["communication"] == pytest.approx((0.1 + 0.1) / 2)


def test_imbalance_never_exceeds_the_wait() -> None:
    parts = split([[times(busy=1.0, wait=0.1, step=1.2)], [times(busy=2.0, wait=0.0, step=2.1)]])
    assert parts["communication"] == pytest.approx(0.0)
    assert parts["imbalance"] == pytest.approx(0.05)


worker = st.lists(
    st.builds(times, busy=st.floats(0, 10), wait=st.floats(0, 10), step=st.floats(20, 30)), min_size=3, max_size=3
)


@settings(deadline=None)
@given(st.lists(worker, min_size=1, max_size=4))
def test_the_parts_sum_to_the_step(workers: list[list[dict[str, float]]]) -> None:
    parts = split(workers)
    assert sum(parts[name] for name in PHASES) == pytest.approx(parts["step"])


def test_bus_bandwidth_of_two_workers_is_bytes_over_time() -> None:
    assert bus_bandwidth(100.0, 2.0, 2) == pytest.approx(50.0)
    assert bus_bandwidth(100.0, 2.0, 4) == pytest.approx(75.0)
