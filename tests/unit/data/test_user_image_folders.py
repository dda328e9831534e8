"""Folders of images of the user's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hvdtrain.data.encoders import ImageEncoder
from hvdtrain.data.examples import TEST, TRAIN, VAL, Examples
from hvdtrain.data.inputs import read_inputs
from hvdtrain.data.prepare import prepare
from hvdtrain.errors import DataError
from hvdtrain.registry import config_class, find

RNG = np.random.default_rng(0)


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


def images(found: Examples) -> Any:
    return found.inputs


def photos(layout: dict[str, int], *, size: tuple[int, int] = (6, 5), suffix: str = "png") -> None:
    for folder, count in layout.items():
        Path("photos", folder).mkdir(parents=True)
        for number in range(count):
            pixels = RNG.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
            Image.fromarray(pixels).save(Path("photos", folder, f"{number}.{suffix}"))


def test_folders_are_classes_and_images_are_read_when_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    photos({"dog": 3, "cat": 2})
    found = examples(name="image_folder", path="photos", size=[5, 6])
    assert found.kind == "images"
    assert found.inputs.shape == (5, 3, 5, 6)  # type: ignore[union-attr]
    assert found.class_names == ("cat", "dog")
    assert np.asarray(found.targets).tolist() == [0, 0, 1, 1, 1]
    decoded = []
    real: Callable[..., Any] = Image.open

    def noted(source: Path) -> Any:
        decoded.append(Path(source).name)
        return real(source)

    monkeypatch.setattr(Image, "open", noted)
    picked = images(found)[np.array([4, 0])]
    assert decoded == ["2.png", "0.png"]
    for got, path in zip(picked, ("photos/dog/2.png", "photos/cat/0.png"), strict=True):
        np.testing.assert_array_equal(got, np.moveaxis(np.asarray(Image.open(path)), -1, 0))


def test_images_are_made_as_prediction_makes_them() -> None:
    photos({"dog": 2, "cat": 2}, size=(40, 30), suffix="jpg")
    shapes: list[tuple[int, int, int]] = [(3, 16, 16), (1, 20, 10)]
    for shape in shapes:
        found = examples(name="image_folder", path="photos", size=list(shape[1:]), grayscale=shape[0] == 1)
        [(_, expected)] = read_inputs(ImageEncoder(shape=shape), [Path("photos/cat/1.jpg")])
        np.testing.assert_array_equal(images(found)[np.array([1])][0], expected)
        assert any("resized" in note for note in found.notes)


def test_parts_have_folders_of_their_own() -> None:
    photos({"train/a": 3, "train/b": 2, "validation/a": 1, "test/b": 1, "test/a": 1})
    found = examples(name="image_folder", path="photos", size=8)
    assert found.parts is not None
    assert found.parts.tolist() == [TEST, TEST, TRAIN, TRAIN, TRAIN, TRAIN, TRAIN, VAL]
    assert np.asarray(found.targets).tolist() == [0, 1, 0, 0, 0, 1, 1, 0]
    assert found.shards is not None
    assert found.shards.tolist() == [0, 1, 2, 2, 2, 3, 3, 4]


def test_without_labels_all_images_are_one_kind() -> None:
    photos({"a": 3, "a/deep": 2, ".hidden": 1})
    found = examples(name="image_folder", path="photos", size=8, labels=False)
    assert len(found) == 5
    assert found.targets is None
    assert found.shards is not None
    assert found.shards.tolist() == [0, 0, 0, 1, 1]


def test_files_that_are_no_images_are_told_of() -> None:
    photos({"a": 2, "b": 2})
    Path("photos/a/notes.txt").write_text("x")
    Path("photos/a/.DS_Store").write_text("x")
    found = examples(name="image_folder", path="photos", size=8)
    assert len(found) == 4
    assert any("left out 1 files that are no images, such as a/notes.txt" in note for note in found.notes)


def test_prepared_image_folders_train() -> None:
    photos({"a": 10, "b": 10})
    config = config_class("data", "image_folder").model_validate(
        {"name": "image_folder", "path": "photos", "size": 8, "grayscale": True}
    )
    data = prepare(config, None, seed=1, form="examples")
    batch = data.train.batch(np.arange(len(data.train)))
    assert tuple(batch["inputs"].shape) == (14, 1, 8, 8)
    assert abs(float(batch["inputs"].mean())) < 1e-5
    assert len(data.train.batch(np.empty(0, dtype=np.int64))["inputs"]) == 0


def test_the_fingerprint_follows_content_and_size() -> None:
    photos({"a": 2, "b": 2})
    first = examples(name="image_folder", path="photos", size=8).fingerprint
    Path("photos").rename("moved")
    assert examples(name="image_folder", path="moved", size=8).fingerprint == first
    assert examples(name="image_folder", path="moved", size=9).fingerprint != first
    Image.new("RGB", (6, 5)).save("moved/a/0.png")
    assert examples(name="image_folder", path="moved", size=8).fingerprint != first


def test_images_that_cannot_be_decoded_are_listed() -> None:
    photos({"a": 8, "b": 2}, size=(60, 50))
    whole = Path("photos/a/0.png").read_bytes()
    Path("photos/a/0.png").write_bytes(whole[: len(whole) // 2])
    found = complaint(name="image_folder", path="photos", size=8)
    assert found.startswith("photos/a/0.png can't be read as an image: ")
    for number in range(1, 7):
        Path(f"photos/a/{number}.png").write_bytes(b"nothing")
    lines = complaint(name="image_folder", path="photos", size=8).split("\n  ")
    assert lines[0] == "7 of 10 images can't be used:"
    assert lines[2] == "photos/a/1.png can't be read as an image: it is no image of a known format"
    assert lines[-1] == "and 2 more"
    assert len(lines) == 7


def test_an_image_that_goes_away_during_training_is_named() -> None:
    photos({"a": 2, "b": 2})
    found = examples(name="image_folder", path="photos", size=8)
    Path("photos/b/1.png").unlink()
    with pytest.raises(DataError, match=r"photos/b/1.png can't be read as an image: .*No such file"):
        images(found)[np.array([3])]


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ({"a": 2}, "photos must hold a folder of images for each class, two or more, and holds one, a"),
        ({"": 2}, "and holds none; images without classes are for data.labels=false"),
        ({"": 1, "a": 2, "b": 2}, "photos/0.png (1 such) is in no class's folder"),
        ({"a": 2, "b": 0}, "the class folder photos/b holds no image (.png, "),
        ({"train/a": 2, "train/b": 2, "vall/a": 1}, "photos/vall stands beside photos/train; expected train, val"),
        ({"train/a": 2}, "photos/train must hold a folder of images for each class"),
        ({"train/a": 2, "train/b": 1, "test": 1}, "photos/test must hold a folder"),
    ],
)
def test_folders_that_cannot_be_used_are_explained(layout: dict[str, int], message: str) -> None:
    Path("photos").mkdir()
    if "" in layout:
        Path("photos").rmdir()
    photos(layout)
    assert message in complaint(name="image_folder", path="photos", size=8)


@pytest.mark.parametrize("linked", ["photos/good/other.png", "photos/bad"])
def test_links_out_of_an_image_folder_are_refused(linked: str) -> None:
    photos({"good": 2, "../elsewhere": 2} | ({"bad": 2} if "other" in linked else {}))
    target = Path("elsewhere/0.png" if "other" in linked else "elsewhere").absolute()
    Path(linked).symlink_to(target)
    assert f"{linked} is a symbolic link to {target}" in complaint(name="image_folder", path="photos", size=4)


def test_a_missing_folder_is_explained() -> None:
    photos({"a": 1})
    assert "data.path: photo does not exist; did you mean 'photos'?" in complaint(name="image_folder", path="photo")
    assert "data.path: photos/a/0.png is a file" in complaint(name="image_folder", path="photos/a/0.png")
    Path("none").mkdir()
    assert "none holds no image" in complaint(name="image_folder", path="none", labels=False)
