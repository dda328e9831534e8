"""Seeded random orders that are the same on every machine and with every version of NumPy."""

from __future__ import annotations

import numpy as np


def permutation(count: int, *seed: int) -> np.ndarray:
    """Return a random order of `range(count)`, a function of the seeds (not negative) alone: (count,) int64."""
    # NumPy promises the raw bits of a generator for ever, but not what Generator.permutation makes of them.
    bits = np.random.Philox(np.random.SeedSequence(seed)).random_raw(count)
    return np.argsort(bits, kind="stable").astype(np.int64, copy=False)
