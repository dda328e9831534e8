"""Which samples are for training, for validation and for the test, drawn by a seed where the source does not say."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hvdtrain.data.examples import TEST, TRAIN, VAL, Examples
from hvdtrain.data.ordering import permutation
from hvdtrain.errors import DataError

PARTS = 0x70617274
"""Keeps these random numbers apart from those of the epochs."""
_LEFT_OUT = -1
_SAME = {"texts": "text", "pairs": "text", "table": "row", "images": "image"}
"""What equal samples have in common, by the kind of examples."""


@dataclass(frozen=True)
class Parts:
    """Ascending indices of the samples of each part; `test` is None where there is none, and `val` is `test` where one
    part is used for both. `notes` are for a person. `grouped` counts the rows and images that were kept with an equal
    one: it identifies these parts, as earlier versions parted such samples."""

    train: np.ndarray
    val: np.ndarray
    test: np.ndarray | None
    notes: tuple[str, ...] = ()
    grouped: int = 0


def make_parts(examples: Examples, name: str, val_fraction: float, test_fraction: float, seed: int) -> Parts:
    """Return the parts of a data set, a function of its samples, the fractions and the seed alone.

    A part that the source sets apart is kept. Another is drawn from the rest: of each class, `floor` or `ceil` of its
    samples times the fraction, so that the whole part is the fraction rounded, and at least one sample; but the last
    sample of a class stays in training. The test part does not depend on `val_fraction`.

    Samples with equal inputs (of pairs: equal source texts) are in one part, whichever was drawn for the first of them;
    where the source's own parts have an input in common, it is left out of the one that comes first in the order of
    training, validation, test. Two kinds of samples are taken for different ones: rows of a table most of which repeat
    another, as columns of few values make them, by chance and not as copies; and images that are read when needed.

    With `val_fraction` 0 and no validation part in the source, the test part is used for both.

    Args:
        name: the data's, for messages.

    Raises:
        DataError: there are no samples, or none would be left for a part.
    """
    if not len(examples):
        raise DataError(f"data '{name}' has no samples")
    parts = np.zeros(len(examples), dtype=np.int8) if examples.parts is None else np.array(examples.parts, np.int8)
    first, notes = _first_of_equals(examples)
    repeated = int((first != np.arange(len(first))).sum())
    same = _SAME[examples.kind]
    if repeated and examples.parts is not None:
        if left_out := _keep_apart(parts, first):
            notes.append(f"left out {left_out} samples whose {same} is also in a held-out part")
    elif repeated:
        notes.append(f"{repeated} samples repeat the {same} of another, and are in the same part as it")
    held_out = set(np.unique(parts).tolist())
    wanted = {part: fraction for part, fraction in ((TEST, test_fraction), (VAL, val_fraction)) if part not in held_out}
    _draw(parts, first, _labels(examples), {part: fraction for part, fraction in wanted.items() if fraction}, seed)
    checked = _checked(parts, wanted, name, tuple(notes))
    return checked if same == "text" else replace(checked, grouped=repeated)


def _first_of_equals(examples: Examples) -> tuple[np.ndarray, list[str]]:
    """Return, for each sample, the index of the first that it is to be kept with, (N,) int64, and notes."""
    alone = np.arange(len(examples))
    inputs = examples.inputs
    if examples.kind in ("texts", "pairs"):
        return _first_seen(inputs), []
    if not isinstance(inputs, np.ndarray):  # files, which would all have to be decoded
        return alone, []
    first = _first_seen(hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in inputs)
    repeated = int((first != alone).sum())
    if examples.kind == "images" or repeated <= len(first) // 2:
        return first, []
    return alone, [f"{repeated} samples repeat the row of another, as columns of few values do: parts may share rows"]


def _first_seen(keys: Iterable[str | bytes]) -> np.ndarray:
    """Return, for each key, the index of the first that is equal: (N,) int64."""
    seen: dict[str | bytes, int] = {}
    return np.array([seen.setdefault(key, index) for index, key in enumerate(keys)], dtype=np.int64)


def _keep_apart(parts: np.ndarray, first: np.ndarray) -> int:
    """Leave samples out, in place, whose equals are in a later part, and return how many."""
    last = np.zeros_like(parts)
    np.maximum.at(last, first, parts)
    unwanted = parts != last[first]
    parts[unwanted] = _LEFT_OUT
    return int(unwanted.sum())


def _labels(examples: Examples) -> np.ndarray:
    if examples.class_names:
        return np.asarray(examples.targets)
    return np.zeros(len(examples), dtype=np.int64)


def _draw(parts: np.ndarray, first: np.ndarray, labels: np.ndarray, fractions: dict[int, float], seed: int) -> None:
    """Move samples from training into other parts, in place."""
    pool = np.flatnonzero((parts == TRAIN) & (first == np.arange(len(first))))
    shuffled = pool[permutation(len(pool), seed, PARTS)]
    by_class = [shuffled[labels[shuffled] == label] for label in np.unique(labels[pool])]
    for part, fraction in fractions.items():
        sizes = np.array([(labels[pool] == label).sum() for label in np.unique(labels[pool])])
        most = np.array([len(left) - 1 for left in by_class])
        counts = _shares(sizes * fraction, max(1, round(len(pool) * fraction)), most)
        for place, count in enumerate(counts.tolist()):
            parts[by_class[place][:count]] = part
            by_class[place] = by_class[place][count:]
    followers = parts == TRAIN
    parts[followers] = parts[first[followers]]


def _shares(quotas: np.ndarray, total: int, most: np.ndarray) -> np.ndarray:
    """Round quotas, the largest remainders up until they add up to `total`, to no more than `most` each: (classes,)."""
    shares: np.ndarray = np.minimum(np.floor(quotas).astype(np.int64), most)
    by_remainder = np.argsort(-(quotas - np.floor(quotas)), kind="stable")
    open_ones = by_remainder[shares[by_remainder] < most[by_remainder]]
    shares[open_ones[: max(0, total - int(shares.sum()))]] += 1
    return shares


def _checked(parts: np.ndarray, wanted: dict[int, float], name: str, notes: Sequence[str]) -> Parts:
    train, val, test = (np.flatnonzero(parts == part) for part in (TRAIN, VAL, TEST))
    if not len(train):
        raise DataError(f"data '{name}' has no training samples: {len(parts)} in all, {len(val) + len(test)} held out")
    for rows, part, key in ((val, VAL, "val_fraction"), (test, TEST, "test_fraction")):
        if not len(rows) and wanted.get(part):
            raise DataError(f"data '{name}' has too few samples, {len(parts)}, to hold out data.{key} = {wanted[part]}")
    if not len(val):
        if not len(test):
            raise DataError(
                f"data.val_fraction and data.test_fraction are 0, and data '{name}' sets nothing apart itself: nothing "
                "is held out; set one of them above 0"
            )
        notes = [*notes, "validation is on the test part, as data.val_fraction is 0: choose nothing by its figures"]
        val = test
    return Parts(train, val, test if len(test) else None, tuple(notes))
