"""Noise of samples: normal, and a function of seed, stream and number alone."""

import math

import numpy as np
import pytest

from hvdtrain.data.noise import normal


def test_a_sample_has_the_same_noise_in_whatever_batch() -> None:
    whole = normal(7, 1, np.arange(100), 9)
    assert whole.shape == (100, 9)
    assert whole.dtype == np.float32
    for size in (2, 3):
        for rank in range(size):
            assert np.array_equal(normal(7, 1, np.arange(rank, 100, size), 9), whole[rank::size])
    assert np.array_equal(normal(7, 1, np.array([63, 5]), 9), whole[[63, 5]])


def test_numbers_seeds_and_streams_have_different_noise() -> None:
    rows = [normal(seed, stream, np.arange(50), 4) for seed in (0, 1, 2) for stream in (0, 1, 2)]
    values = np.concatenate(rows).reshape(-1)
    assert len(np.unique(values)) > 0.999 * values.size  # two float32 may be equal by chance


def test_is_standard_normal_and_uncorrelated() -> None:
    drawn = normal(3, 0, np.arange(20_000), 6).astype(np.float64)
    error = 1 / math.sqrt(drawn.size)
    assert abs(drawn.mean()) < 4 * error
    assert abs(drawn.var() - 1) < 4 * math.sqrt(2) * error
    for limit in (0.5, 1.0, 2.0, 3.0):
        share = math.erfc(limit / math.sqrt(2))
        assert (np.abs(drawn) > limit).mean() == pytest.approx(share, abs=4 * math.sqrt(share) * error)
    neighbours = np.corrcoef(np.concatenate([drawn[:-1], drawn[1:]], axis=1), rowvar=False) - np.eye(12)
    assert np.abs(neighbours).max() < 5 / math.sqrt(20_000)


def test_is_box_and_mullers_of_philoxs_bits() -> None:
    """Held against the formula, number by number, so that a later version makes the same noise."""
    bits = np.random.Philox(key=np.array([11, 2], dtype=np.uint64), counter=1234 << 192).random_raw(4)
    uniform = [(int(b) >> 11) / 2**53 for b in bits]
    expected = [
        math.sqrt(-2 * math.log(uniform[0] + 2**-53)) * math.cos(2 * math.pi * uniform[2]),
        math.sqrt(-2 * math.log(uniform[1] + 2**-53)) * math.cos(2 * math.pi * uniform[3]),
        math.sqrt(-2 * math.log(uniform[0] + 2**-53)) * math.sin(2 * math.pi * uniform[2]),
    ]
    np.testing.assert_allclose(normal(11, 2, np.array([1234]), 3)[0], expected, rtol=1e-6)


def test_recorded_values_stay() -> None:
    recorded = [[2.2844414710998535, -1.5494507551193237, 1.9245853424072266, -0.6637518405914307]]
    np.testing.assert_allclose(normal(0, 0, np.array([0]), 4), recorded, rtol=1e-6)


def test_no_samples_have_no_noise() -> None:
    assert normal(0, 0, np.arange(0), 5).shape == (0, 5)
