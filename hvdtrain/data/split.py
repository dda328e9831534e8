"""Training and validation: which documents of a corpus belong to which, decided by a seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hvdtrain.data.documents import AnyDocument
from hvdtrain.data.ordering import permutation

SPLIT = 0x73706C69
"""Keeps the split's random numbers apart from those of the epochs."""


@dataclass(frozen=True)
class Split:
    """The documents of each side, in the corpus's order, and what a person should know of how they were parted."""

    train: tuple[AnyDocument, ...]
    val: tuple[AnyDocument, ...]
    notes: tuple[str, ...] = ()


def split(documents: Sequence[AnyDocument], sizes: Sequence[int], fraction: float, seed: int) -> Split:
    """Put whole documents, drawn at random, into validation while they fit into that fraction of all bytes.

    Where not one document is small enough (a single document always), the tail of the largest is the validation text,
    and a note says so.
    """
    chosen = _draw(sizes, fraction * sum(sizes), seed)
    if len(chosen) in (0, len(documents)):
        return _split_largest(documents, sizes, fraction)
    train = tuple(document for index, document in enumerate(documents) if index not in chosen)
    return Split(train, tuple(documents[index] for index in sorted(chosen)))


def _draw(sizes: Sequence[int], budget: float, seed: int) -> set[int]:
    """Return indices, taken in random order, whose sizes together do not exceed the budget."""
    chosen, used = set(), 0
    for index in permutation(len(sizes), seed, SPLIT).tolist():
        if used + sizes[index] <= budget:
            chosen.add(index)
            used += sizes[index]
    return chosen


def _split_largest(documents: Sequence[AnyDocument], sizes: Sequence[int], fraction: float) -> Split:
    largest = max(range(len(sizes)), key=lambda index: sizes[index])
    share = min(0.5, fraction * sum(sizes) / sizes[largest])
    head, tail = documents[largest].split_tail(share)
    train = tuple(head if index == largest else document for index, document in enumerate(documents))
    why = "it is the only document" if len(documents) == 1 else "no document is as small as the validation part"
    note = f"validation text is the last {share:.1%} of {documents[largest].name}, because {why}"
    return Split(train, (tail,), (note,))
