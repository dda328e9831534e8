"""Token files of the user's: what is read, and what is said of files that can't be used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from hvdtrain.data.formats import token_files
from hvdtrain.data.prepare import prepare
from hvdtrain.data.prepared import PreparedData
from hvdtrain.errors import DataError
from hvdtrain.registry import config_class

IDS = np.random.default_rng(0).integers(0, 300, 1000)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def prepared(**section: Any) -> PreparedData:
    section = {"name": "tokens", "vocab_size": 300, "max_seq_len": 10} | section
    return prepare(config_class("data", "tokens").model_validate(section), None, seed=1)


def complaint(**section: Any) -> str:
    with pytest.raises(DataError) as caught:
        prepared(**section)
    return str(caught.value)


@pytest.mark.parametrize("dtype", ["uint16", "uint32", "int32", "int64"])
def test_raw_files_hold_what_is_trained_on(dtype: str) -> None:
    IDS[:901].astype(dtype).tofile("train.bin")
    IDS[901:].astype(dtype).tofile("val.bin")
    data = prepared(train="train.bin", val="val.bin", dtype=dtype)
    batch = data.train.batch(np.arange(len(data.train)))
    np.testing.assert_array_equal(batch["inputs"].reshape(-1).numpy(), IDS[:900])
    np.testing.assert_array_equal(batch["targets"].reshape(-1).numpy(), IDS[1:901])
    assert data.val.targets == 98
    assert data.encoder.tokenizer is None
    assert data.encoder.state()["vocab_size"] == 300


def test_npy_files_have_their_own_type() -> None:
    np.save("train.npy", IDS.astype(">u4"))
    data = prepared(train="train.npy", val_fraction=0.1)
    np.testing.assert_array_equal(data.train.batch(np.array([0]))["inputs"][0].numpy(), IDS[:10])
    assert (data.train.targets, data.val.targets) == (899, 99)
    assert data.notes == ("validation is the last 10.0% of train.npy, as data.val names no file",)


def test_files_are_mapped_and_not_read_into_memory() -> None:
    IDS.astype(np.uint16).tofile("train.bin")
    tokens = token_files.open_tokens("train.bin", None, "uint16", 300, 0.1)
    assert isinstance(tokens.train, np.memmap)
    assert isinstance(tokens.val, np.memmap)
    assert tokens.vocab_size == 300


def test_the_fingerprint_follows_content_and_parts() -> None:
    IDS.astype(np.uint16).tofile("train.bin")
    first = prepared(train="train.bin").fingerprint
    Path("train.bin").rename("moved.bin")
    assert prepared(train="moved.bin").fingerprint == first
    assert prepared(train="moved.bin", val_fraction=0.2).fingerprint != first
    IDS[::-1].astype(np.uint16).tofile("moved.bin")
    assert prepared(train="moved.bin").fingerprint != first


def test_ids_outside_of_the_vocabulary_are_told_with_their_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_files, "AT_ONCE", 64)
    ids = IDS.copy()
    ids[[333, 700]] = 300, 5000
    ids.astype(np.uint16).tofile("train.bin")
    assert complaint(train="train.bin") == (
        "train.bin: token 333 (from 0) is 300, and ids are 0 to 299 with data.vocab_size=300, and 1 more such ids: set "
        "the vocabulary's size, or the right data.dtype"
    )
    ids[[333, 700]] = 0, -1
    ids.astype(np.int32).tofile("train.bin")
    assert "token 700 (from 0) is -1" in complaint(train="train.bin", dtype="int32")
    IDS.astype(np.uint16).tofile("train.bin")
    ids.astype(np.int32).tofile("val.bin")
    assert complaint(train="train.bin", val="val.bin").startswith("val.bin: token ")


def test_files_that_cannot_be_used_are_explained() -> None:
    Path("odd.bin").write_bytes(b"\0" * 1001)
    assert "odd.bin has 1,001 bytes, which are no whole number of ids of data.dtype=uint16" in complaint(
        train="odd.bin"
    )
    Path("empty.bin").write_bytes(b"")
    assert "data.train: empty.bin is empty" in complaint(train="empty.bin")
    assert "data.train: od.bin does not exist; did you mean 'odd.bin'?" in complaint(train="od.bin")
    assert "data.train: . is not a regular file" in complaint(train=".")
    Path("short.bin").write_bytes(b"\0" * 16)
    assert "the training part has 7 tokens, and one sequence takes 11" in complaint(train="short.bin")
    IDS.astype(np.uint16).tofile("train.bin")
    assert "data.val: ./train.bin is data.train too" in complaint(train="train.bin", val="./train.bin")
    assert "the validation part has 8 tokens" in complaint(train="train.bin", val="short.bin")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (IDS.reshape(10, 100), r"a.npy is int64 of the shape \(10, 100\); expected whole numbers in one row"),
        (IDS / 2, "a.npy is float64"),
        (IDS[:0], "a.npy is empty"),
        (np.array([{}], dtype=object), "a.npy can't be read as .npy: "),
    ],
)
def test_npy_files_that_cannot_be_used_are_explained(array: np.ndarray, message: str) -> None:
    np.save("a.npy", array)
    with pytest.raises(DataError, match=message):
        prepared(train="a.npy")


def test_an_archive_under_the_name_of_an_array_is_told() -> None:
    np.savez("a.npz", IDS)
    Path("a.npz").rename("a.npy")
    assert complaint(train="a.npy") == (
        "a.npy is a zip archive, as .npz files are; expected one array, as numpy.save writes it"
    )


@pytest.mark.parametrize("values", [{"dtype": "float32"}, {"vocab_size": 1}, {"vocab_size": None}, {"val": ""}])
def test_a_bad_config_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        config_class("data", "tokens").model_validate({"name": "tokens", "train": "a.bin", "vocab_size": 9} | values)
    assert [error["loc"][0] for error in caught.value.errors()] == list(values)
