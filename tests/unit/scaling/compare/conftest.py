"""Runs of a comparison made by hand: workers whose every figure is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from hvdtrain.metrics.strategies import StrategyRecord


def run(step: float = 0.1, workers: int = 2, **changes: Any) -> list[StrategyRecord]:
    """One run of a strategy: 10 timed updates of `step` seconds, 1,000 tokens each; a list is a value a rank."""
    known: dict[str, Any] = {
        "world_size": workers,
        "host": "a",
        "timed": 10,
        "wall": 10 * step,
        "samples": 80,
        "tokens": 10_000,
        "train_loss": 2.0,
        "metrics": {"loss": 2.5, "perplexity": 12.2},
        "bytes_per_step": 1e6,
        "state_bytes": 8_000_000,
        "memory_bytes": 400_000_000,
        "device": "CPU",
        "precision": "fp32",
        "controller": "gloo",
        "engine": {"HOROVOD_CYCLE_TIME": "20 (auto)"},
        "global_batch_size": 8,
        "micro_batch_size": 4,
    }
    known |= changes
    return [
        StrategyRecord(
            step=15,
            rank=rank,
            **{key: value[rank] if isinstance(value, list) else value for key, value in known.items()},
        )
        for rank in range(workers)
    ]


@pytest.fixture
def make_run() -> Callable[..., list[StrategyRecord]]:
    return run
