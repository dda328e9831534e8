"""benchmarks/compute.py: that it runs, and that its variants differ in what they are called after; no time is held."""

from __future__ import annotations

import compute
import pytest


def test_variants_train_without_what_they_lack(demo_text: None) -> None:
    steps = {variant: compute.launch("bench/gpt-1m", "fp32", variant, 2) for variant in ("shipped", "neither")}
    assert steps["shipped"]["page_faults"] < steps["neither"]["page_faults"] / 2
    assert all(0 < found["mfu"] < 2 for found in steps.values())
    line, other = compute.table("bench/gpt-1m", "fp32", compute.summary([steps]))
    assert "| shipped |" in line
    assert "| 1.000 (1.000 to 1.000) |" in line
    assert "| neither |" in other


def test_ratios_are_made_within_a_round() -> None:
    """Machines change their speed between rounds."""
    rounds = [{"shipped": {"step_ms": ms}, "neither": {"step_ms": 2 * ms}} for ms in (1.0, 10.0)]
    assert compute.summary(rounds)["neither"]["of_shipped"] == {"median": 2.0, "range": [2.0, 2.0]}
    assert compute.summary(rounds)["shipped"]["step_ms"]["median"] == pytest.approx(5.5)
