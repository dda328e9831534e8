"""Random numbers of single samples: a function of a seed, a stream and the sample's number, and of nothing else.

They do not depend on which samples are drawn together, so not on the number of workers nor on where a run was resumed.
"""

from __future__ import annotations

import numpy as np


def normal(seed: int, stream: int, numbers: np.ndarray, width: int) -> np.ndarray:
    """Return standard normal numbers, one row a sample: (len(numbers), width) float32.

    A sample's bits are those of Philox (Salmon et al. 2011, https://doi.org/10.1145/2063384.2063405), keyed by seed and
    stream and counting from the sample's number; the transform is Box and Muller's (1958,
    https://doi.org/10.1214/aoms/1177706645). NumPy promises the raw bits of a generator for ever, but not what it makes
    of them.

    Args:
        seed: not negative, less than 2^64.
        stream: keeps apart the numbers that one sample needs for several things; not negative, less than 2^64.
        numbers: (B,) integers, not negative.
        width: random numbers a sample.
    """
    pairs = (width + 1) // 2
    bits = np.empty((len(numbers), 2, pairs), dtype=np.uint64)
    key = np.array([seed, stream], dtype=np.uint64)
    for row, number in enumerate(np.asarray(numbers).tolist()):
        counter = np.array([0, 0, 0, number], dtype=np.uint64)
        bits[row] = np.random.Philox(key=key, counter=counter).random_raw(2 * pairs).reshape(2, pairs)
    whole = (bits >> np.uint64(11)).astype(np.float64)  # 53 bits, as many as a double holds
    radius = np.sqrt(-2.0 * np.log((whole[:, 0] + 1.0) * 2.0**-53))  # of a number in (0, 1]: never the log of 0
    angle = 2.0 * np.pi * 2.0**-53 * whole[:, 1]
    both = np.concatenate((radius * np.cos(angle), radius * np.sin(angle)), axis=1)
    return both[:, :width].astype(np.float32)
