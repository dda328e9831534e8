"""What a comparison measured, and the ratios that are made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

OURS = "hvdtrain"
GLOO = f"{OURS}_gloo"
SIDES = (OURS, GLOO, "ddp_identical", "ddp_bucket_view", "ddp_plain", "hf_trainer", "lightning_ddp")


class Case(NamedTuple):
    """A workload that sides are compared on."""

    recipe: str
    precision: str


class Measured(NamedTuple):
    """What one run of a side gave: tokens/s of each window after the first, bytes, and mean losses of all windows where
    the side tells them."""

    rates: list[float]
    peak: int
    losses: list[float]


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Return the median with the range of one value a round."""
    return {"median": median(values), "range": [min(values), max(values)]}


def summary(case: Case, rounds: Sequence[Mapping[str, Measured]]) -> dict[str, Any]:
    """Return the figures of a case: each side's, and hvdtrain's over the other sides', round by round."""
    sides = list(rounds[0])
    speed = {side: [median(one[side].rates) for one in rounds] for side in sides}
    peak = {side: [one[side].peak for one in rounds] for side in sides}
    others = [side for side in SIDES if side in sides and side != OURS]
    return {
        "recipe": case.recipe,
        "precision": case.precision,
        "tokens_per_second": {side: spread(speed[side]) for side in sides},
        "peak_bytes": {side: spread(peak[side]) for side in sides},
        "speed_ratio": {side: spread(quotients(speed[OURS], speed[side])) for side in others},
        "memory_ratio": {side: spread(quotients(peak[OURS], peak[side])) for side in others},
        "largest_difference_of_losses": {
            side: max(difference(one[OURS].losses, one[side].losses) for one in rounds)
            for side in others
            if rounds[0][side].losses
        },
        "rounds": [{side: one[side]._asdict() for side in one} for one in rounds],
    }


def quotients(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Return ours over theirs, round by round."""
    return [a / b for a, b in zip(ours, theirs, strict=True)]


def difference(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return the largest relative difference of two sides' losses: near zero where they compute the same."""
    return max(abs(a / b - 1) for a, b in zip(ours, theirs, strict=True))


def table(result: Mapping[str, Any]) -> str:
    """Return the result as a Markdown table."""
    lines = [
        "| recipe | precision | hvdtrain against | tokens/s | theirs | ratio (range) | peak memory | theirs | ratio |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for case in result["cases"]:
        speed, peak = case["tokens_per_second"], case["peak_bytes"]
        for side, ratio in case["speed_ratio"].items():
            low, high = ratio["range"]
            lines.append(
                f"| {case['recipe']} | {case['precision']} | {side} "
                f"| {speed[OURS]['median']:,.0f} | {speed[side]['median']:,.0f} "
                f"| **{ratio['median']:.3f}** ({low:.3f} to {high:.3f}) "
                f"| {peak[OURS]['median'] / 1e6:,.0f} MB | {peak[side]['median'] / 1e6:,.0f} MB "
                f"| {case['memory_ratio'][side]['median']:.3f} |"
            )
    for case in result["cases"]:
        for side, most in case["largest_difference_of_losses"].items():
            lines.append(
                f"\n{case['recipe']}, {case['precision']}: losses of {side} are hvdtrain's to within {most:.1e}"
            )
    return "\n".join(lines)
