"""What a run was trained on, where each worker knows its own share only."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from hvdtrain.train.window import Counts, Window


@pytest.mark.parametrize(("coupled", "expected"), [(False, Counts(24, 80)), (True, Counts(24, 60))])
def test_counts_are_everybodys_in_the_middle_of_a_window_too(coupled: bool, expected: Counts) -> None:
    """Worker 0 takes its own 15 targets of an update for those of both, and worker 1 had 25."""
    world: Any = SimpleNamespace(gather=lambda mine: [mine, [24, 100]])
    loop: Any = SimpleNamespace(coupled=coupled)
    window = Window(world, loop)
    for _ in range(2):
        update: Any = SimpleNamespace(samples=12, targets=30)
        window.add(update)
    assert window.total() == expected
    assert window.counts == Counts(24, 60), "the next log line corrects them by itself"
