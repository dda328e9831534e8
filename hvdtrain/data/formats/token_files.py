"""Files of token ids, mapped into memory."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hvdtrain.data.cache import sha256
from hvdtrain.data.documents import readable
from hvdtrain.data.formats.paths import missing
from hvdtrain.errors import DataError

AT_ONCE = 1 << 22
"""Ids that are looked at together."""
ZIP = b"PK\x03\x04"
"""What a zip archive begins with."""


@dataclass(frozen=True)
class TokenFiles:
    """Token ids of training and validation, each (n,) of an integer type, mapped into memory; all are below
    `vocab_size`. `notes` are for a person."""

    train: np.ndarray
    val: np.ndarray
    vocab_size: int
    fingerprint: str
    notes: tuple[str, ...] = ()


def open_tokens(train: str, val: str | None, dtype: str, vocab_size: int, val_fraction: float) -> TokenFiles:
    """Open token files.

    Args:
        train: a path of the recipe.
        val: another; None: the last `val_fraction` of `train`.
        dtype: of files without a header.
        vocab_size: what every id is below.
        val_fraction: see `val`.

    Raises:
        DataError: a file is missing, unreadable or empty, of a length that is no whole number of ids, of another shape
            or type, or holds an id that is negative or not below `vocab_size`.
    """
    tokens = _open(train, "train", dtype)
    _check_ids(train, tokens, vocab_size)
    identity: list[object] = [sha256(Path(train).expanduser()), str(tokens.dtype)]
    if val is None:
        cut = len(tokens) - max(1, round(len(tokens) * val_fraction))
        notes = (f"validation is the last {val_fraction:.1%} of {train}, as data.val names no file",)
        print_of = _print([*identity, cut, vocab_size])
        return TokenFiles(tokens[:cut], tokens[cut:], vocab_size, print_of, notes)
    held_out = _open(val, "val", dtype)
    if Path(val).expanduser().resolve() == Path(train).expanduser().resolve():
        raise DataError(f"data.val: {val} is data.train too: it can't be held out and learned")
    _check_ids(val, held_out, vocab_size)
    identity += [sha256(Path(val).expanduser()), str(held_out.dtype), vocab_size]
    return TokenFiles(tokens, held_out, vocab_size, _print(identity))


def _open(path: str, key: str, dtype: str) -> np.ndarray:
    place = Path(path).expanduser()
    with readable(path):
        if not place.exists():
            raise missing(path, key)
        if not place.is_file():
            raise DataError(f"data.{key}: {path} is not a regular file")
        if place.suffix == ".npy":
            return _open_npy(path, place)
        size, item = place.stat().st_size, np.dtype(dtype).itemsize
        if not size:
            raise DataError(f"data.{key}: {path} is empty")
        if size % item:
            raise DataError(
                f"data.{key}: {path} has {size:,} bytes, which are no whole number of ids of data.dtype={dtype} "
                f"({item} bytes each): it is cut off, or of another dtype"
            )
        return np.memmap(place, dtype=np.dtype(dtype).newbyteorder("<"), mode="r")


def _open_npy(path: str, place: Path) -> np.ndarray:
    with place.open("rb") as file:
        if file.read(len(ZIP)) == ZIP:  # NumPy goes by the content too, and would give no array
            raise DataError(f"{path} is a zip archive, as .npz files are; expected one array, as numpy.save writes it")
    try:
        tokens: np.ndarray = np.load(place, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise DataError(f"{path} can't be read as .npy: {error}") from error
    if tokens.ndim != 1 or tokens.dtype.kind not in "iu":
        raise DataError(
            f"{path} is {tokens.dtype} of the shape {tokens.shape}; expected whole numbers in one row, (n,)"
        )
    if not len(tokens):
        raise DataError(f"{path} is empty")
    return tokens


def _check_ids(path: str, tokens: np.ndarray, vocab_size: int) -> None:
    wrong = 0
    first: tuple[int, int] | None = None
    for begin in range(0, len(tokens), AT_ONCE):
        block = np.asarray(tokens[begin : begin + AT_ONCE])
        if int(block.max()) < vocab_size and int(block.min()) >= 0:
            continue
        places = np.flatnonzero((block >= vocab_size) | (block < 0))
        wrong += len(places)
        if first is None:
            first = (begin + int(places[0]), int(block[places[0]]))
    if first is not None:
        more = f", and {wrong - 1:,} more such ids" if wrong > 1 else ""
        raise DataError(
            f"{path}: token {first[0]:,} (from 0) is {first[1]}, and ids are 0 to {vocab_size - 1} with "
            f"data.vocab_size={vocab_size}{more}: set the vocabulary's size, or the right data.dtype"
        )


def _print(identity: list[object]) -> str:
    return hashlib.sha256(json.dumps(["tokens", *identity]).encode()).hexdigest()
