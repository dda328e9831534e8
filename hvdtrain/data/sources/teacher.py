"""Samples labelled by a fixed function, some labels flipped: how good a classifier can be is known.

Features are independent, uniform, of mean 0 and variance 1. The teacher says 1 where u·x + |v·x| is above its median, u
and v being random directions at right angles: a network of four ReLU units, which no linear model can replace. Of all
drawn samples, the fifth nearest to that border is left out: without such a margin, 800 samples of 10 features are too
few to find it well. Then labels are flipped, and no classifier can be expected to be right about those.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from hvdtrain.data._config import ExamplesConfig

if TYPE_CHECKING:
    import numpy as np

    from hvdtrain.data.examples import Examples

LEFT_OUT = 0.2


class Config(ExamplesConfig):
    """Samples of a teacher, made when they are needed.

    Each label is flipped with probability `flip`. `seed` draws the teacher, the samples and the flips; the seed of the
    recipe has no part in them. The last `test_fraction` of the samples is the test part.
    """

    name: Literal["teacher"] = "teacher"
    samples: int = Field(1000, ge=10)
    features: int = Field(10, ge=2)
    flip: float = Field(0.05, ge=0.0, lt=0.5)
    seed: int = Field(0, ge=0)


def examples(config: Config) -> Examples:
    """Return the samples (N, features) and their labels; the reference is the share of test labels not flipped."""
    import numpy as np

    from hvdtrain.data.examples import TEST, TRAIN, Examples

    features, taught = _taught(config)
    flipped = _uniform(config.samples, config.seed, 2) < config.flip
    tested = round(config.samples * config.test_fraction)
    parts = np.repeat(np.array([TRAIN, TEST], dtype=np.int8), (config.samples - tested, tested))
    best = {"accuracy": {"best that the noise allows": float(1 - flipped[parts == TEST].mean())}} if tested else {}
    return Examples(
        inputs=features,
        targets=(taught ^ flipped).astype(np.int64),
        fingerprint=f"teacher-1-{config.samples}-{config.features}-{config.flip}-{config.seed}",
        class_names=("below", "above"),
        feature_names=tuple(f"x{number}" for number in range(config.features)),
        parts=parts,
        references=best,
        notes=(
            f"{int(flipped.sum())} of {config.samples} labels are flipped, {int(flipped[parts == TEST].sum())} of "
            f"{tested} in the test part",
        ),
    )


def _taught(config: Config) -> tuple[np.ndarray, np.ndarray]:
    """Return samples (N, features) and what the teacher says of them (N,) bool, before any is flipped."""
    import numpy as np

    drawn = round(config.samples / (1 - LEFT_OUT))
    width = 3**0.5  # of variance 1: (2 width)^2 / 12
    x = (2 * _uniform(drawn * config.features, config.seed, 1) - 1).reshape(drawn, config.features) * width
    u, v = _uniform(2 * config.features, config.seed, 0).reshape(2, -1) - 0.5
    u = u / np.linalg.norm(u)
    v = v - (v @ u) * u
    v = v / np.linalg.norm(v)
    score = x @ u + np.abs(x @ v)
    score = score - np.median(score)
    kept = np.sort(np.argsort(np.abs(score), kind="stable")[drawn - config.samples :])
    return x[kept], score[kept] > 0


def _uniform(count: int, *seed: int) -> np.ndarray:
    """Return numbers from 0 to 1 that are the same with every version of NumPy, as `data/ordering.py` says why."""
    import numpy as np

    bits: np.ndarray = np.random.Philox(np.random.SeedSequence(seed)).random_raw(count)
    numbers: np.ndarray = (bits >> np.uint64(11)) * 2.0**-53
    return numbers
