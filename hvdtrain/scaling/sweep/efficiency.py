"""Speed-up, efficiency and their spread: the arithmetic of a sweep."""

from __future__ import annotations

import random
from collections.abc import Sequence
from statistics import median

from hvdtrain.metrics.study import Interval, Mode, ScalabilityLaw

BOOTSTRAP_LAUNCHES = 5
"""With fewer launches a confidence interval would claim what it can't know."""
_RESAMPLES = 4000
LAW_SIZES = 4


def interval(values: Sequence[float]) -> Interval:
    """Return the median of one value a launch, with its spread.

    From five launches on, the 95 % percentile bootstrap of the median (Efron 1979), whose draws are seeded; with fewer,
    the smallest and the largest value.
    """
    kind = "95 % bootstrap interval" if len(values) >= BOOTSTRAP_LAUNCHES else "range"
    if len(values) < BOOTSTRAP_LAUNCHES:
        low, high = min(values), max(values)
    else:
        draw = random.Random(0)
        medians = sorted(median(draw.choices(values, k=len(values))) for _ in range(_RESAMPLES))
        low, high = medians[round(0.025 * (_RESAMPLES - 1))], medians[round(0.975 * (_RESAMPLES - 1))]
    return Interval(
        median=median(values),
        low=low,
        high=high,
        launches=len(values),
        kind="one launch" if len(values) == 1 else kind,  # type: ignore[arg-type]
    )


def speedup(mode: Mode, one: float, many: float) -> float:
    """Return X(n) / X(1) of two throughputs where work grows with the workers, or T(1) / T(n) of two times where it
    does not.
    """
    return many / one if mode == "weak" else one / many


def karp_flatt(speedup: float, workers: int) -> float | None:
    """Return the experimentally determined serial fraction e = (1/speedup - 1/n) / (1 - 1/n) (Karp and Flatt 1990)."""
    if workers < 2 or speedup <= 0:
        return None
    return (1 / speedup - 1 / workers) / (1 - 1 / workers)


def fit_law(mode: Mode, workers: Sequence[int], rates: Sequence[float]) -> ScalabilityLaw | str:
    """Fit Gunther's Universal Scalability Law to throughputs, or return why it can't be fitted.

    n / X(n) = (1 + s (n-1) + k n (n-1)) / rate is linear in (1, s, k) / rate: least squares, weighted so that relative
    errors count alike, with s and k not negative (Gunther 2007, Guerrilla Capacity Planning, section 4.4). Three
    parameters take four sizes at least.
    """
    if len(workers) < LAW_SIZES:
        have = f"{len(workers)} size{'' if len(workers) == 1 else 's'}"
        return (
            f"{mode} scaling: {have}, and the Universal Scalability Law has three parameters: no fit under {LAW_SIZES}"
        )
    import numpy as np

    n = np.asarray(workers, dtype=float)
    inverse = n / np.asarray(rates, dtype=float)
    columns = np.stack([np.ones_like(n), n - 1, n * (n - 1)], axis=1) / inverse[:, None]
    for kept in ((0, 1, 2), (0, 1), (0, 2), (0,)):
        solved = np.zeros(3)
        solved[list(kept)] = np.linalg.lstsq(columns[:, kept], np.ones_like(n), rcond=None)[0]
        if (solved >= 0).all():
            break
    rate = 1 / solved[0]
    contention, coherence = float(solved[1] * rate), float(solved[2] * rate)
    peak = ((1 - contention) / coherence) ** 0.5 if coherence > 0 and contention < 1 else None
    return ScalabilityLaw(mode=mode, rate=float(rate), contention=contention, coherence=coherence, peak_workers=peak)
