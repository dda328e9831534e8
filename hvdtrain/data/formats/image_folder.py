"""Folders of image files as examples."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hvdtrain.data import cache
from hvdtrain.data.documents import readable
from hvdtrain.data.examples import TEST, TRAIN, VAL, Examples
from hvdtrain.data.formats.images import DECODING, IMAGES, LazyImages, check_once, decode
from hvdtrain.data.formats.paths import check_inside, missing, visible_files
from hvdtrain.errors import DataError, nearest

PARTS = {"train": TRAIN, "val": VAL, "valid": VAL, "validation": VAL, "test": TEST}
"""Folders that hold a part, where there is one called train."""


@dataclass(frozen=True)
class _File:
    path: Path
    part: int
    label: str


def examples_of(path: str, shape: tuple[int, int, int], *, labelled: bool) -> Examples:
    """Return the images below a folder.

    Args:
        path: as the recipe has it.
        shape: (C, H, W) that each image is made.
        labelled: whether folders are classes.

    Raises:
        DataError: there is no such folder, or fewer than two classes, a class has no image, or an image can't be read.
    """
    root = Path(path).expanduser()
    with readable(path):
        if not root.exists():
            raise missing(path, "path")
        if not root.is_dir():
            raise DataError(f"data.path: {path} is a file; expected a folder that holds a folder for each class")
        others: list[Path] = []
        files = list(_listed(root, others, labelled))
    names = tuple(sorted({file.label for file in files})) if labelled else ()
    images = LazyImages(len(files), shape, lambda number: decode(files[number].path, str(files[number].path), shape))
    fingerprint = _fingerprint(root, files, shape)
    check_once(images, "image_folder", fingerprint)
    parts = np.array([file.part for file in files], dtype=np.int8)
    return Examples(
        inputs=images,  # type: ignore[arg-type]
        targets=np.array([names.index(file.label) for file in files], dtype=np.int64) if labelled else None,
        class_names=names,
        fingerprint=fingerprint,
        parts=parts if (parts != TRAIN).any() else None,
        shards=_shards(files),
        notes=_notes(root, files, others, shape),
    )


def _shards(files: Sequence[_File]) -> np.ndarray:
    """Return the number of the innermost folder that each image lies in, in the order of names: (N,) int64."""
    numbers = {folder: number for number, folder in enumerate(sorted({file.path.parent for file in files}))}
    return np.array([numbers[file.path.parent] for file in files], dtype=np.int64)


def _listed(root: Path, others: list[Path], labelled: bool) -> Iterator[_File]:
    """Yield the images, and put the files that are none into `others`."""
    folders = _folders(root)
    if not any(folder.name == "train" for folder in folders):
        yield from _of_part(root, TRAIN, others, labelled)
        return
    for folder in folders:
        if folder.name not in PARTS:
            raise DataError(
                f"{folder} stands beside {root / 'train'}; expected {', '.join(PARTS)} there"
                f"{nearest(folder.name, PARTS)}"
            )
        yield from _of_part(folder, PARTS[folder.name], others, labelled)


def _of_part(root: Path, part: int, others: list[Path], labelled: bool) -> Iterator[_File]:
    if not labelled:
        found = list(_images(root, others))
        if not found:
            raise DataError(f"{root} holds no image ({', '.join(IMAGES)})")
        yield from (_File(path, part, "") for path in found)
        return
    folders = _folders(root)
    if not folders or (part == TRAIN and len(folders) < 2):
        found_ones = f"one, {folders[0].name}" if folders else "none"
        raise DataError(
            f"{root} must hold a folder of images for each class, two or more, and holds {found_ones}; images without "
            "classes are for data.labels=false"
        )
    if loose := list(_images(root, [], deep=False)):
        raise DataError(f"{loose[0]} ({len(loose)} such) is in no class's folder: move it into one")
    for folder in folders:
        found = list(_images(folder, others))
        if not found:
            raise DataError(f"the class folder {folder} holds no image ({', '.join(IMAGES)})")
        yield from (_File(path, part, folder.name) for path in found)


def _folders(root: Path) -> list[Path]:
    found = sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    for entry in found:
        check_inside(root, entry)
    return found


def _images(folder: Path, others: list[Path], deep: bool = True) -> Iterator[Path]:
    for path in (
        sorted(visible_files(folder)) if deep else sorted(entry for entry in folder.iterdir() if entry.is_file())
    ):
        if path.suffix.lower() in IMAGES:
            check_inside(folder, path)
            yield path
        else:
            others.append(path)


def _fingerprint(root: Path, files: Sequence[_File], shape: tuple[int, int, int]) -> str:
    digest = hashlib.sha256(json.dumps(["image_folder", DECODING, shape]).encode())
    for file in files:
        with readable(file.path):
            facts = [file.path.relative_to(root).as_posix(), file.part, file.label, cache.sha256(file.path)]
        digest.update(json.dumps(facts).encode())
    return digest.hexdigest()


def _notes(root: Path, files: Sequence[_File], others: Sequence[Path], shape: tuple[int, int, int]) -> tuple[str, ...]:
    from PIL import Image

    notes = []
    with Image.open(files[0].path) as first:
        width, height = first.size
    if (height, width) != shape[1:]:
        notes.append(
            f"images are resized to {shape[1]} x {shape[2]} pixels (data.size), and {files[0].path.name} is "
            f"{height} x {width}"
        )
    if others:
        notes.append(f"left out {len(others)} files that are no images, such as {others[0].relative_to(root)}")
    return tuple(notes)
