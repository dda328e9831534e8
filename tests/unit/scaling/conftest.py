"""Trials made by hand: workers whose every time is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from hvdtrain.metrics.records import TrialRecord


def steps(
    count: int, *, data: float = 0.001, forward: float = 0.1, backward: float = 0.2, wait: float = 0.0,
    optimizer: float = 0.01,
) -> tuple[dict[str, float], ...]:  # fmt: skip
    """Steps that are all alike."""
    busy = data + forward + backward + optimizer
    one = {"data": data, "forward": forward, "backward": backward, "wait": wait, "optimizer": optimizer}
    return tuple({**one, "step": busy + wait, "busy": busy} for _ in range(count))


def trial(rank: int = 0, workers: int = 1, **changes: Any) -> TrialRecord:
    """One worker's record: 10 steps of 0.311 s; with several workers 0.02 s of each are communication."""
    known: dict[str, Any] = {
        "step": 10,
        "rank": rank,
        "world_size": workers,
        "host": "a",
        "machine_cores": 8,
        "local_size": workers,
        "cores": 8,
        "threads": 1,
        "device": "CPU",
        "precision": "fp32",
        "controller": "gloo" if workers > 1 else "",
        "engine": {"HOROVOD_CYCLE_TIME": "20 (auto)", "HOROVOD_FUSION_THRESHOLD": "33554432 (auto)"},
        "global_batch_size": 8 * workers,
        "micro_batch_size": 8,
        "gradient_accumulation_steps": 1,
        "samples": 8 * workers,
        "tokens": 1024 * workers,
        "floor": steps(10),
        "flops_per_token": 1e6,
        "peak_flops": 1e10,
        "processor": {"floor": {"wall": 3.0, "own": 3.0, "machine": 3.0 * workers}},
    }
    if workers > 1:
        known |= {
            "synchronised": steps(10, wait=0.02),
            "idle": steps(10),
            "bytes_per_step": 20_000_000,
            "tensors": 38,
            "allreduce_seconds": 0.03,
            "one_buffer_seconds": 0.028,
            "allreduce": ((4096.0, 0.018), (20_000_000.0, 0.028)),
            "latencies": (0.001, 0.011, 0.021),
        }
    known |= changes
    known.setdefault("wall", sum(step["step"] for step in known.get("synchronised", known["floor"])))
    return TrialRecord(**known)


@pytest.fixture
def make_trial() -> Callable[..., TrialRecord]:
    return trial


@pytest.fixture
def make_steps() -> Callable[..., tuple[dict[str, float], ...]]:
    return steps
