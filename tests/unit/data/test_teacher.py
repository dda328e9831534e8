"""The teacher's samples: flipped as often as asked, the same everywhere, and as learnable as their docstring says."""

from __future__ import annotations

import numpy as np
import pytest

from hvdtrain.data.examples import TEST, TRAIN
from hvdtrain.data.sources import teacher

RECORDED = [0.37192670772868136, 0.012922954501316274, -0.24540995846469402]


def targets(**config: object) -> np.ndarray:
    found = teacher.examples(teacher.Config(**config)).targets  # type: ignore[arg-type]
    assert isinstance(found, np.ndarray)
    return found


@pytest.mark.parametrize("flip", [0.05, 0.3])
def test_the_share_of_flipped_labels_is_what_was_asked_and_what_is_told(flip: float) -> None:
    config = teacher.Config(samples=20_000, flip=flip)
    found = teacher.examples(config)
    wrong = targets(samples=20_000, flip=flip) != targets(samples=20_000, flip=0.0)
    assert wrong.mean() == pytest.approx(flip, abs=4 * np.sqrt(flip * (1 - flip) / 20_000))
    tested = found.parts == TEST
    assert found.references["accuracy"]["best that the noise allows"] == pytest.approx(1 - wrong[tested].mean())
    assert f"{wrong.sum()} of 20000 labels are flipped, {wrong[tested].sum()} of 4000" in found.notes[0]


def test_flips_are_of_all_kinds_of_samples() -> None:
    clean, noisy = targets(samples=20_000, flip=0.0), targets(samples=20_000, flip=0.3)
    for label in (0, 1):
        assert (noisy != clean)[clean == label].mean() == pytest.approx(0.3, abs=0.02)


def test_the_teacher_is_the_function_that_the_docstring_tells() -> None:
    """Its two directions are found again by least squares on the clean labels of many samples."""
    found = teacher.examples(teacher.Config(samples=50_000, flip=0.0))
    x, y = np.asarray(found.inputs), np.asarray(found.targets) - 0.5
    u = x.T @ y
    u /= np.linalg.norm(u)
    curvature = (x.T * y) @ x / len(x)
    v = np.linalg.eigh(curvature)[1][:, -1]
    assert abs(u @ v) < 0.05
    score = x @ u + np.abs(x @ v)
    assert ((score > np.median(score)) == (y > 0)).mean() > 0.98
    assert y.mean() == pytest.approx(0, abs=0.01)


def test_samples_depend_on_their_own_seed_alone() -> None:
    one, again = (teacher.examples(teacher.Config()) for _ in range(2))
    np.testing.assert_array_equal(one.inputs, again.inputs)
    np.testing.assert_array_equal(one.targets, again.targets)
    other = teacher.examples(teacher.Config(seed=1))
    assert not np.array_equal(one.inputs, other.inputs)
    assert one.fingerprint == again.fingerprint != other.fingerprint
    # recorded: another machine or version of NumPy has to draw these too
    np.testing.assert_allclose(np.asarray(one.inputs)[0, :3], RECORDED, rtol=1e-12)


def test_features_are_of_mean_0_and_variance_1() -> None:
    found = np.asarray(teacher.examples(teacher.Config(samples=20_000, features=4)).inputs)
    assert found.shape == (20_000, 4)
    np.testing.assert_allclose(found.mean(0), 0, atol=0.05)
    np.testing.assert_allclose(found.std(0), 1, atol=0.06)
    assert np.abs(found).max() <= 3**0.5


def test_the_last_samples_are_the_test_part() -> None:
    found = teacher.examples(teacher.Config(samples=50, test_fraction=0.2))
    assert found.parts is not None
    assert found.parts.tolist() == [TRAIN] * 40 + [TEST] * 10
    assert found.class_names == ("below", "above")
    assert teacher.examples(teacher.Config(test_fraction=0.0)).references == {}


def test_a_network_of_ten_units_learns_it_and_a_line_does_not() -> None:
    neural = pytest.importorskip("sklearn.neural_network", reason="scikit-learn is not installed")
    linear = pytest.importorskip("sklearn.linear_model")
    found = teacher.examples(teacher.Config())
    x, y = np.asarray(found.inputs), np.asarray(found.targets)
    network = neural.MLPClassifier((10,), solver="lbfgs", alpha=3.0, max_iter=2000, random_state=0).fit(
        x[:800], y[:800]
    )
    line = linear.LogisticRegression().fit(x[:800], y[:800])
    assert network.score(x[800:], y[800:]) >= 0.9 > 0.87 > line.score(x[800:], y[800:])
