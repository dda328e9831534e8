"""Arrays in .npz files of the user's."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hvdtrain.data.examples import TRAIN, VAL, Examples
from hvdtrain.data.prepare import prepare
from hvdtrain.errors import DataError
from hvdtrain.registry import config_class, find

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (40, 5, 6), dtype=np.uint8)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_cache: Path) -> None:
    monkeypatch.chdir(tmp_path)


def examples(**section: Any) -> Examples:
    config = config_class("data", section["name"]).model_validate(section)
    return find("data", section["name"]).examples(config)  # type: ignore[no-any-return]


def complaint(**section: Any) -> str:
    with pytest.raises(DataError) as caught:
        examples(**section)
    return str(caught.value)


def arrays(**values: Any) -> str:
    np.savez("a.npz", **values)
    return "a.npz"


def test_rows_of_an_npz_file() -> None:
    rows = RNG.normal(size=(40, 3)).astype(np.float32)
    path = arrays(rows=rows, y=np.arange(40) % 4)
    found = examples(name="npz", paths=[path], inputs="rows", target="y")
    np.testing.assert_array_equal(found.inputs, rows)
    assert found.kind == "table"
    assert found.class_names == ("0", "1", "2", "3")
    assert found.targets is not None
    assert np.array_equal(found.targets, np.arange(40) % 4)
    alone = examples(name="npz", paths=[path], target="y")
    np.testing.assert_array_equal(alone.inputs, rows)


@pytest.mark.parametrize(
    ("array", "channels", "expected"),
    [
        (GREY, "auto", GREY[:, None]),
        (np.stack([GREY] * 3, 1), "auto", np.stack([GREY] * 3, 1)),
        (np.stack([GREY, GREY, GREY // 2], -1), "auto", np.stack([GREY, GREY, GREY // 2], 1)),
        (GREY[..., None], "auto", GREY[:, None]),
        (GREY[:, :3, :, None], "last", GREY[:, None, :3]),
        (GREY[:, None, :, :3], "first", GREY[:, None, :, :3]),
    ],
)
def test_images_of_an_npz_file(array: np.ndarray, channels: str, expected: np.ndarray) -> None:
    path = arrays(images=array, labels=np.array(["b", "a"] * 20))
    found = examples(name="npz", paths=[path], inputs="images", target="labels", channels=channels)
    assert found.kind == "images"
    np.testing.assert_array_equal(found.inputs, expected)
    assert found.class_names == ("a", "b")
    assert np.asarray(found.targets).tolist() == [1, 0] * 20


def test_prepared_images_of_an_npz_file_have_mean_0() -> None:
    config = config_class("data", "npz").model_validate(
        {"name": "npz", "paths": [arrays(x=GREY, y=np.arange(40) % 2)], "target": "y"}
    )
    data = prepare(config, None, seed=1, form="examples")
    images = data.train.batch(np.arange(len(data.train)))["inputs"]
    assert tuple(images.shape) == (28, 1, 5, 6)
    assert abs(float(images.mean())) < 1e-5
    assert abs(float(images.std(correction=0)) - 1) < 1e-5


def test_npz_files_are_shards_and_targets_may_be_a_column() -> None:
    np.savez("a.npz", x=GREY[:10], y=np.arange(10)[:, None] / 4)
    np.savez("b.npz", x=GREY[10:15], y=np.arange(5)[:, None] / 4)
    np.savez("v.npz", x=GREY[15:17], y=np.arange(2)[:, None] / 4)
    found = examples(name="npz", paths=["a.npz", "b.npz"], val_paths=["v.npz"], inputs="x", target="y")
    assert found.shards is not None
    assert found.shards.tolist() == [0] * 10 + [1] * 5 + [2] * 2
    assert found.parts is not None
    assert found.parts.tolist() == [TRAIN] * 15 + [VAL] * 2
    np.testing.assert_array_equal(found.targets, np.concatenate([np.arange(10), np.arange(5), np.arange(2)]) / 4)
    np.savez("b.npz", x=GREY[10:15, :4], y=np.arange(5) / 4)
    assert "b.npz has inputs of the shape (1, 4, 6), and a.npz of (1, 5, 6)" in complaint(
        name="npz", paths=["a.npz", "b.npz"], inputs="x", target="y"
    )


@pytest.mark.parametrize(
    ("values", "section", "message"),
    [
        ({"x": GREY, "y": [0] * 40}, {"inputs": "X"}, "data.inputs: a.npz has no array 'X'"),
        ({"x": GREY, "y": [0] * 40}, {"target": "yy"}, "data.target: a.npz has no array 'yy'; did you mean 'y'?"),
        ({"x": GREY, "y": [0] * 40, "z": [1]}, {"target": "y"}, "It has x (40, 5, 6), y (40,), z (1,)"),
        ({"x": GREY, "y": [0] * 39}, {}, "array 'y' of a.npz has the shape (39,); expected (40,)"),
        ({"x": GREY / 255, "y": [0] * 40}, {}, "the type float64; expected uint8"),
        ({"x": GREY[:, None, None], "y": [0] * 40}, {}, "has the shape (40, 1, 1, 5, 6); expected rows (N, F)"),
        ({"x": GREY[:, :3, :, None], "y": [0] * 40}, {}, "may have its channels first or last; set data.channels"),
        ({"x": GREY[:, None].repeat(2, 1), "y": [0] * 40}, {}, "has no axis of 1 or 3 channels"),
        ({"x": GREY[..., None], "y": [0] * 40}, {"channels": "first"}, "has 5 channels"),
        ({"x": np.array(["a"] * 4), "y": [0] * 4}, {}, "is of type <U1; expected numbers (texts are for csv"),
        ({"x": GREY, "y": np.array([b"a"] * 40)}, {}, "array 'y' of a.npz is of type |S1"),
        ({"x": np.array([[1.0, 2], [3, np.nan]]), "y": [0, 1]}, {}, "a.npz, row 2: column 1 (from 0) of 'x' is nan"),
        ({"x": np.ones((2, 2)), "y": [0.5, np.inf]}, {}, "a.npz, row 2: y is inf; expected a finite number"),
        ({"x": np.ones((0, 2)), "y": []}, {}, "a.npz has no rows"),
        ({"x": 5, "y": [1]}, {}, "array 'x' of a.npz is one value"),
    ],
)
def test_arrays_that_cannot_be_used_are_explained(
    values: dict[str, Any], section: dict[str, Any], message: str
) -> None:
    path = arrays(**values)
    given = {"name": "npz", "paths": [path], "inputs": "x", "target": "y"} | section
    if "It has" in message:
        del given["inputs"]
    assert message in complaint(**given)


def test_npz_files_that_cannot_be_read_are_explained() -> None:
    Path("a.npz").write_bytes(b"no archive")
    assert "a.npz is no .npz file, or damaged" in complaint(name="npz", paths=["a.npz"])
    path = arrays(x=np.array([{"a": 1}], dtype=object), y=[1])
    assert "a.npz can't be read: it holds Python objects" in complaint(name="npz", paths=[path], inputs="x")
    arrays(x=GREY)
    whole = bytearray(Path("a.npz").read_bytes())
    whole[300] ^= 0xFF
    Path("a.npz").write_bytes(whole)
    assert "a.npz can't be read: Bad CRC-32" in complaint(name="npz", paths=["a.npz"])
    Path("a.npz").write_bytes(whole[:600])
    assert "a.npz is no .npz file, or damaged" in complaint(name="npz", paths=["a.npz"])


def test_an_npz_file_that_claims_more_than_there_is_memory_is_an_error_of_its_own() -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**14,)})
    with zipfile.ZipFile("a.npz", "w") as archive:
        archive.writestr("x.npy", header.getvalue())
    assert "a.npz can't be read: Unable to allocate" in complaint(name="npz", paths=["a.npz"])


def test_a_member_of_an_npz_file_that_is_no_array_is_named() -> None:
    with zipfile.ZipFile(arrays(x=GREY), "a") as archive:
        archive.writestr("y", b"0123")
    found = complaint(name="npz", paths=["a.npz"], target="y")
    assert found == "a.npz holds 'y', which is no NumPy array; expected .npy members, as numpy.savez writes"


@pytest.mark.parametrize("named", ["texts", "texts/*.npz"])
def test_links_out_of_a_folder_or_glob_are_refused_and_those_within_are_not(named: str) -> None:
    Path("texts").mkdir()
    Path(arrays(x=GREY)).rename("secret.npz")
    Path("texts/own.npz").write_bytes(Path("secret.npz").read_bytes())
    Path("texts/again.npz").symlink_to("own.npz")
    assert len(examples(name="npz", paths=[named])) == len(GREY)
    Path("texts/stolen.npz").symlink_to("../secret.npz")
    assert "texts/stolen.npz is a symbolic link to" in complaint(name="npz", paths=[named])
    assert len(examples(name="npz", paths=["texts/stolen.npz"])) == len(GREY), "it is named itself"
