"""Hugging Face data sets of the user's, from the disk alone."""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from PIL import Image

from hvdtrain.data.examples import TEST, TRAIN, Examples
from hvdtrain.data.prepare import prepare
from hvdtrain.errors import DataError, SetupError
from hvdtrain.registry import config_class, find

REVIEWS: dict[str, list[Any]] = {
    "review": [f"text {row}" for row in range(12)],
    "label": [row % 2 for row in range(12)],
}
FEATURES = datasets.Features(
    {"review": datasets.Value("string"), "label": datasets.ClassLabel(names=["positive", "negative"])}
)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_cache: Path) -> None:
    """A folder of this test alone, without a network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)  # as the user has it, before

    def refuse(*_: Any) -> None:
        raise AssertionError("asked the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    datasets.disable_progress_bars()


def examples(**section: Any) -> Examples:
    config = config_class("data", "huggingface").model_validate({"name": "huggingface"} | section)
    return find("data", "huggingface").examples(config)  # type: ignore[no-any-return]


def complaint(**section: Any) -> str:
    with pytest.raises(DataError) as caught:
        examples(**section)
    return str(caught.value)


def save(path: str, **splits: datasets.Dataset) -> str:
    datasets.DatasetDict(splits).save_to_disk(path)
    return path


def reviews(count: int = 12) -> datasets.Dataset:
    return datasets.Dataset.from_dict({name: values[:count] for name, values in REVIEWS.items()}, features=FEATURES)


def test_texts_with_the_classes_of_the_data_set_in_its_order() -> None:
    path = save("saved", train=reviews(), test=reviews(4))
    found = examples(path=path, inputs="review", target="label", test_split="test")
    assert found.inputs == REVIEWS["review"] + REVIEWS["review"][:4]
    assert found.class_names == ("positive", "negative")
    assert np.asarray(found.targets).tolist() == REVIEWS["label"] + REVIEWS["label"][:4]
    assert found.parts is not None
    assert found.parts.tolist() == [TRAIN] * 12 + [TEST] * 4


def test_rows_that_were_selected_and_shuffled_are_those_rows() -> None:
    reviews().shuffle(seed=3).select(range(6)).save_to_disk("one")
    order = reviews().shuffle(seed=3).select(range(6))["review"]
    assert examples(path="one", inputs="review", target="label").inputs == list(order)


def test_tables_pairs_and_running_text(empty_cache: Path) -> None:
    table: dict[str, list[float]] = {"x": [1, 2, 3, 4], "z": [0.5, 1, 2, 3], "y": [0.1, 0.2, 0.3, 0.5]}
    found = examples(path=save("table", train=datasets.Dataset.from_dict(table)), target="y")
    np.testing.assert_array_equal(found.inputs, np.stack([table["x"], table["z"]], 1))
    np.testing.assert_array_equal(found.targets, table["y"])
    words = [{"en": f"word {row}", "es": f"palabra {row}"} for row in range(9)]
    path = save("pairs", train=datasets.Dataset.from_dict({"translation": words}))
    found = examples(path=path, inputs="translation.en", target="translation.es")
    assert found.kind == "pairs"
    assert list(found.targets or [])[8] == "palabra 8"
    config = config_class("data", "huggingface").model_validate(
        {"name": "huggingface", "path": path, "inputs": "translation.en", "max_seq_len": 8, "val_fraction": 0.4}
    )
    tokenizer = config_class("tokenizers", "bytes").model_validate({"name": "bytes"})
    assert len(prepare(config, tokenizer, seed=1).train) > 2


def test_columns_of_images() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 5, 6, 3), dtype=np.uint8)
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("string")})
    rows = {"image": [Image.fromarray(each) for each in pixels], "label": ["a", "b"] * 4}
    path = save("images", train=datasets.Dataset.from_dict(rows, features=features))
    section = {"path": path, "inputs": "image", "target": "label"}
    found = examples(**section, size=[5, 6])
    assert found.inputs.shape == (8, 3, 5, 6)  # type: ignore[union-attr]
    images: Any = found.inputs
    np.testing.assert_array_equal(images[np.array([7, 2])], np.moveaxis(pixels[[7, 2]], -1, 1))
    assert found.class_names == ("a", "b")
    assert examples(**section, size=[5, 6]).fingerprint == found.fingerprint
    assert examples(**section, size=[5, 6], grayscale=True).fingerprint != found.fingerprint
    assert "column 'label' of images (train) holds no images" in complaint(path=path, inputs="label", size=8)
    assert "has no column 'imag'; did you mean 'image'?" in complaint(path=path, inputs="imag", size=8)
    config = config_class("data", "huggingface")
    assert not config.model_validate({"name": "huggingface", **section, "size": 8}).needs_tokenizer  # type: ignore[attr-defined]
    assert config.model_validate({"name": "huggingface", **section}).needs_tokenizer  # type: ignore[attr-defined]


def test_images_that_cannot_be_decoded_are_named_by_row() -> None:
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("string")})
    rows = {"image": [{"bytes": b"no image", "path": None}] * 2, "label": ["a", "b"]}
    path = save("images", train=datasets.Dataset.from_dict(rows, features=features))
    found = complaint(path=path, inputs="image", target="label", target_kind="class", size=8)
    assert "images (train), row 1 can't be read as an image: it is no image of a known format" in found


def test_texts_are_predicted_of_texts_alone() -> None:
    features = datasets.Features({"image": datasets.Image(), "caption": datasets.Value("string")})
    rows = {"image": [Image.new("RGB", (6, 5), (row, 0, 0)) for row in range(20)], "caption": [*map(str, range(20))]}
    path = save("images", train=datasets.Dataset.from_dict(rows, features=features))
    config = config_class("data", "huggingface").model_validate(
        {"name": "huggingface", "path": path, "inputs": "image", "target": "caption", "target_kind": "text", "size": 8}
    )
    with pytest.raises(DataError, match="data 'huggingface': its targets are texts, and its inputs images; texts are"):
        prepare(config, None, seed=1, form="examples")


def test_a_folder_of_parquet_files() -> None:
    Path("folder").mkdir()
    datasets.Dataset.from_dict({"x": [1, 2], "y": [0.5, 1.5]}).to_parquet("folder/train.parquet")
    found = examples(path="folder", target="y")
    np.testing.assert_array_equal(found.inputs, [[1], [2]])
    Path("folder/train.parquet").write_bytes(b"nothing")
    assert "data.path: can't read the Hugging Face data set folder: " in complaint(path="folder", target="y")


def test_bad_rows_are_listed() -> None:
    features = datasets.Features({"x": datasets.Value("float64"), "y": FEATURES["label"]})
    rows = datasets.Dataset.from_dict({"x": [1.0, None, 3.0], "y": [0, 1, -1]}, features=features)
    path = save("saved", train=rows)
    assert complaint(path=path, target="y").split("\n  ") == [
        "saved (train): 2 of 3 rows can't be used:",
        "saved (train), row 2: x has no value; expected a finite number",
        "saved (train), row 3: y has no value; expected the name of a class",
    ]


def test_what_is_not_here_is_explained_and_not_asked_for() -> None:
    found = complaint(path="someone/reviews", inputs="review", target="label")
    assert found.startswith("data.path: can't read the Hugging Face data set someone/reviews: ")
    assert "hvdtrain never downloads" in found
    assert "datasets.load_dataset('someone/reviews').save_to_disk('reviews')" in found
    assert "\n" not in found
    assert "can't read the Hugging Face data set ./none" in complaint(path="./none", target="y")
    path = save("saved", train=reviews(), test=reviews(4))
    section = {"path": path, "inputs": "review", "target": "label"}
    assert "data.val_split: saved has no split 'tests'; did you mean 'test'? (it has train, test)" in complaint(
        **section, val_split="tests"
    )
    assert "data.test_split: 'train' is used for another part" in complaint(**section, test_split="train")
    assert "saved (train) has no column 'labl'; did you mean 'label'?" in complaint(
        path=path, inputs="review", target="labl"
    )


def test_without_datasets_the_install_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(SetupError, match=r"datasets, which is not installed: pip install 'hvdtrain\[datasets\]'"):
        examples(path="saved", target="y")
