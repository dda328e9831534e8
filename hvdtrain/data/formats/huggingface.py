"""Hugging Face data sets, from the disk alone, into columns and images."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hvdtrain.data.examples import TEST, TRAIN, VAL, Examples
from hvdtrain.data.formats.arrow import arrow_values
from hvdtrain.data.formats.images import DECODING, LazyImages, check_once, decode_bytes, image_shape
from hvdtrain.data.formats.rows import Table, raise_bad_rows
from hvdtrain.data.formats.tables import Part, checked, fingerprint, parts_and_shards
from hvdtrain.data.formats.targets import Targets, learn_targets
from hvdtrain.errors import DataError, SetupError, nearest

if TYPE_CHECKING:
    from hvdtrain.data.sources.huggingface import Config

SAVED = ("dataset_dict.json", "state.json")
"""What `save_to_disk` leaves in a folder."""
HASHED_AT_ONCE = 1000
_FETCH = (
    '; hvdtrain never downloads from the Hub: where there is a network, run python -c "import datasets; '
    "datasets.load_dataset('{path}').save_to_disk('{folder}')\" once, and name that folder as data.path"
)


@dataclass(frozen=True)
class HuggingFaceSplit:
    """A split as `datasets` opened it, called by `name`, and the part of the data it is."""

    name: str
    part_number: int
    data: Any

    def part(self, wanted: set[str] | None) -> Part:
        """Return the rows of a split, the columns of a set or all; DataError where it has none."""
        import pyarrow

        flat = self.data.flatten()
        columns: dict[str, Sequence[Any] | np.ndarray] = {name: [] for name in flat.column_names}
        classes: dict[str, tuple[str, ...]] = {}
        digest = hashlib.sha256()
        for name in columns if wanted is None else [name for name in columns if name in wanted]:
            values = arrow_values(pyarrow, flat.data.column(name))
            if labels := getattr(flat.features[name], "names", None):
                classes[name] = tuple(labels)
                values = [labels[value] if value is not None and 0 <= value < len(labels) else None for value in values]
            columns[name] = values
            digest.update(name.encode() + _hash(values))
        table = Table(self.name, digest.hexdigest(), columns, len(flat), lines=None, typed=True, classes=classes)
        return Part(checked(table), self.part_number)


def read_splits(path: str, subset: str | None, splits: tuple[str, str | None, str | None]) -> list[HuggingFaceSplit]:
    """Open the splits of a data set for training, validation and test.

    Raises:
        DataError: it is not on this machine, can't be read, or has no such split.
        SetupError: `datasets` is not installed.
    """
    with _offline() as datasets:
        found = _load(datasets, path, subset)
    if not isinstance(found, Mapping):
        found = {"train": found}
    opened = []
    for part, key, split in zip((TRAIN, VAL, TEST), ("split", "val_split", "test_split"), splits, strict=True):
        if split is None:
            continue
        if split not in found:
            raise DataError(
                f"data.{key}: {path} has no split '{split}'{nearest(split, found)} (it has {', '.join(found)})"
            )
        if split in splits[:part]:
            raise DataError(f"data.{key}: '{split}' is used for another part: it can't be held out and learned")
        data = found[split]
        opened.append(
            HuggingFaceSplit(f"{path} ({split})", part, data if data._indices is None else data.flatten_indices())
        )
    return opened


def image_examples(config: Config, splits: Sequence[HuggingFaceSplit]) -> Examples:
    """Return a column of images, decoded when they are read, and their targets.

    Raises:
        DataError: the column is no column of images, an image can't be decoded, or a target is bad.
    """
    if not isinstance(config.inputs, str):
        raise DataError("data.inputs: name the one column of images, as data.size is set")
    column, size = config.inputs, config.size
    assert size is not None
    shape = image_shape(size, grayscale=config.grayscale)
    contents = [_contents(split, column) for split in splits]
    parts = [split.part({config.target} if config.target else set()) for split in splits]
    tables = [part.table for part in parts]
    targets = learn_targets(tables, config.target, config.target_kind, with_texts=False) if config.target else None
    raise_bad_rows(tables)
    places = [(which, row) for which, part in enumerate(parts) for row in range(len(part.table))]

    def open_image(number: int) -> np.ndarray:
        which, row = places[number]
        return decode_bytes(_content(contents[which][row][column]), parts[which].table.where(row), shape)

    images = LazyImages(len(places), shape, open_image)
    digest = hashlib.sha256(f"{DECODING} {fingerprint(config, parts)}".encode())
    for number, (which, row) in enumerate(places):
        digest.update(number.to_bytes(8, "little") + hashlib.sha256(_content(contents[which][row][column])).digest())
    check_once(images, "huggingface", digest.hexdigest())
    parts_of_rows, shards = parts_and_shards(parts)
    return Examples(
        inputs=images,  # type: ignore[arg-type]
        targets=targets.values if targets else None,
        class_names=targets.class_names if targets else (),
        fingerprint=digest.hexdigest(),
        notes=(targets or Targets([])).notes,
        parts=parts_of_rows,
        shards=shards,
    )


def _contents(split: HuggingFaceSplit, column: str) -> Any:
    """Return a view of a split whose images are bytes or paths."""
    import datasets

    features = split.data.features
    if column not in features:
        raise DataError(f"data.inputs: {split.name} has no column '{column}'{nearest(column, features)}")
    if not isinstance(features[column], datasets.Image):
        raise DataError(f"data.inputs: column '{column}' of {split.name} holds no images; leave data.size out for text")
    return split.data.select_columns([column]).cast_column(column, datasets.Image(decode=False))


def _content(image: Mapping[str, Any] | None) -> bytes:
    """Return the bytes of an encoded image; without any, or a plain file, none, which no decoder takes."""
    if not image:
        return b""
    if image["bytes"] is not None:
        return bytes(image["bytes"])
    try:
        return Path(image["path"]).read_bytes() if Path(image["path"]).is_file() else b""
    except OSError:
        return b""


def _load(datasets: Any, path: str, subset: str | None) -> Any:
    place = Path(path).expanduser()
    looks_like_a_path = place.exists() or path.startswith((".", "/", "~"))
    try:
        if any((place / name).is_file() for name in SAVED):
            return datasets.load_from_disk(str(place))
        return datasets.load_dataset(str(place) if looks_like_a_path else path, name=subset)
    except (OSError, ValueError, RuntimeError, KeyError, datasets.exceptions.DatasetsError) as error:
        reason = (str(error.__cause__ or error).strip() or repr(error)).splitlines()[0]
        known = "" if looks_like_a_path else _FETCH.format(path=path, folder=place.name)
        raise DataError(f"data.path: can't read the Hugging Face data set {path}: {reason}{known}") from error


@contextmanager
def _offline() -> Iterator[Any]:
    """Give `datasets`, which asks no server and draws no bars meanwhile."""
    os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"  # read when it is imported
    try:
        import datasets
        import huggingface_hub
    except ImportError as error:
        raise SetupError(
            "Hugging Face data sets need datasets, which is not installed: pip install 'hvdtrain[datasets]'"
        ) from error
    huggingface_hub.constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True  # it may have been imported before
    bars = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield datasets
    finally:
        if bars:
            datasets.enable_progress_bars()


def _hash(values: Sequence[Any] | np.ndarray) -> bytes:
    digest = hashlib.sha256()
    if isinstance(values, np.ndarray):
        digest.update(f"{values.dtype}".encode() + np.ascontiguousarray(values).tobytes())
        return digest.digest()
    for begin in range(0, len(values), HASHED_AT_ONCE):
        digest.update(json.dumps(values[begin : begin + HASHED_AT_ONCE], default=str).encode())
    return digest.digest()
