"""Arrays of NumPy's .npz files as inputs and columns."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from hvdtrain.data.cache import sha256
from hvdtrain.data.documents import readable
from hvdtrain.data.formats.rows import Table
from hvdtrain.errors import DataError, nearest

CHANNELS = (1, 3)
"""Numbers of channels that an image may have."""
Layout = Literal["auto", "first", "last"]


@dataclass(frozen=True)
class Arrays:
    """The inputs of a file, rows (N, F) float64 or images (N, C, H, W) uint8, and a table of its targets."""

    inputs: np.ndarray
    table: Table


def read_npz(name: str, path: Path, inputs: str | None, target: str | None, channels: Layout) -> Arrays:
    """Return the arrays of those names; without `inputs`, the only other array.

    Raises:
        DataError: it can't be read, is damaged or no .npz file, holds Python objects, or an array is missing, of
            another length, or of a type or shape that is no table and no images.
    """
    arrays = _load(name, path, (inputs, target))
    key = inputs or _only_other(name, arrays, target, "data.inputs")
    found = _made(name, path, key, _found(name, arrays, key, "data.inputs"), channels)
    if target is not None:
        labels = _found(name, arrays, target, "data.target")
        count = len(found.table)
        if labels.shape not in ((count,), (count, 1)):
            raise DataError(
                f"data.target: array '{target}' of {name} has the shape {labels.shape}; expected ({count},), one "
                f"value for each of '{key}' {arrays[key].shape}"
            )
        if labels.dtype.kind not in "biufU":
            raise DataError(
                f"data.target: array '{target}' of {name} is of type {labels.dtype}; expected numbers or text"
            )
        values = labels.reshape(-1)
        found.table.columns = {target: values if labels.dtype.kind in "iuf" else values.tolist()}
    return found


def read_npz_inputs(name: str, path: Path, inputs: str | None, target: str | None, channels: Layout) -> Arrays:
    """Return the inputs alone, for a trained model: the array of that name, or the only one but the target's, which may
    be missing. Raises as `read_npz` does."""
    arrays = _load(name, path, (inputs,))
    key = inputs or _only_other(name, arrays, target, "--column")
    return _made(name, path, key, _found(name, arrays, key, "--column"), channels)


def _made(name: str, path: Path, key: str, array: np.ndarray, channels: Layout) -> Arrays:
    """Return the inputs of an array, and a table that has no columns and knows which rows are bad."""
    table = Table(name, sha256(path), {}, len(array), lines=None, typed=True)
    if array.ndim not in (1, 2):
        return Arrays(_images(f"{name}: array '{key}'", array, channels), table)
    made = _rows(f"{name}: array '{key}'", array)
    for row in np.unique(np.argwhere(~np.isfinite(made))[:, 0]).tolist():
        column = int(np.flatnonzero(~np.isfinite(made[row]))[0])
        table.complain(row, f"column {column} (from 0) of '{key}' is {made[row, column]}; expected a finite number")
    return Arrays(made, table)


def _load(name: str, path: Path, wanted: tuple[str | None, ...]) -> dict[str, np.ndarray]:
    """Return the arrays of a file; those that are not wanted may be None."""
    try:
        with readable(name), path.open("rb") as file:
            if not zipfile.is_zipfile(file):
                raise DataError(f"{name} is no .npz file, or damaged (numpy.savez makes one)")
            file.seek(0)
            with np.load(file, allow_pickle=False) as archive:
                arrays = {
                    key: archive[key] if wanted[0] is None or key in wanted else np.empty(0) for key in archive.files
                }
    except MemoryError as error:
        raise DataError(f"{name} can't be read: {str(error) or 'its arrays do not fit into memory'}") from error
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        reason = "it holds Python objects, which are not read: save numbers" if "pickle" in str(error) else str(error)
        raise DataError(f"{name} can't be read: {reason}") from error
    for key, array in arrays.items():
        if not isinstance(array, np.ndarray):  # NumPy gives the bytes of what is no .npy
            raise DataError(
                f"{name} holds '{key}', which is no NumPy array; expected .npy members, as numpy.savez writes"
            )
    return arrays


def _only_other(name: str, arrays: Mapping[str, np.ndarray], target: str | None, where: str) -> str:
    others = [key for key in arrays if key != target]
    if len(others) != 1:
        raise DataError(f"{where} is missing: which array of {name} is it? It has {_shapes(arrays)}")
    return others[0]


def _found(name: str, arrays: Mapping[str, np.ndarray], key: str, where: str) -> np.ndarray:
    if key not in arrays:
        raise DataError(f"{where}: {name} has no array '{key}'{nearest(key, arrays)} (it has {', '.join(arrays)})")
    if not arrays[key].ndim:
        raise DataError(f"{where}: array '{key}' of {name} is one value; expected one for each sample")
    return arrays[key]


def _shapes(arrays: Mapping[str, np.ndarray]) -> str:
    return ", ".join(f"{key} {array.shape}" for key, array in arrays.items()) or "none"


def _rows(what: str, array: np.ndarray) -> np.ndarray:
    if array.dtype.kind not in "biuf":
        raise DataError(f"{what} is of type {array.dtype}; expected numbers (texts are for csv, jsonl or parquet)")
    return (array if array.ndim == 2 else array[:, None]).astype(np.float64)


def _images(what: str, array: np.ndarray, channels: Layout) -> np.ndarray:
    """Return images as (N, C, H, W)."""
    if array.ndim not in (3, 4):
        raise DataError(
            f"{what} has the shape {array.shape}; expected rows (N, F), or images (N, H, W), (N, C, H, W) or "
            "(N, H, W, C)"
        )
    if array.dtype != np.uint8:
        raise DataError(
            f"{what} has the shape {array.shape} of images and the type {array.dtype}; expected uint8, 0 to 255 "
            "(for a table, make it (N, F))"
        )
    if array.ndim == 3:
        return array[:, None]
    first, last = array.shape[1] in CHANNELS, array.shape[3] in CHANNELS
    if channels == "auto" and first == last:
        found = "may have its channels first or last" if first else "has no axis of 1 or 3 channels"
        raise DataError(f"{what} has the shape {array.shape} and {found}; set data.channels=first or last")
    if channels == "last" or (channels == "auto" and last):
        array = np.ascontiguousarray(np.moveaxis(array, -1, 1))
    if array.shape[1] not in CHANNELS:
        raise DataError(
            f"{what} has {array.shape[1]} channels (shape {array.shape}, channels {channels}); expected 1 or 3"
        )
    return array
