"""Texts with a class each, as a file that fetched sources keep in the cache."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hvdtrain.data._download import Download
    from hvdtrain.data.examples import Examples

FILE = "texts.jsonl"
CLASSES = ("negative", "positive")


def write(folder: Path, texts: Iterable[tuple[str, str]]) -> None:
    """Write pairs of a text and its class, a line each."""
    with (folder / FILE).open("w", encoding="utf-8") as file:
        for text, label in texts:
            file.write(json.dumps({"text": text, "class": label}, ensure_ascii=False) + "\n")


def read(folder: Path) -> tuple[list[str], list[str]]:
    """Return the texts and their classes."""
    with (folder / FILE).open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return [row["text"] for row in rows], [row["class"] for row in rows]


def reviews(download: Download, total: int, unit: str, left_out: str) -> Examples:
    """Return the reviews of a fetched source, by class; DataError where they were not fetched.

    Args:
        download: what fetches them.
        total: how many the source has.
        unit: what the source calls one, in the plural, for the note.
        left_out: which of them were not kept, for the note.
    """
    import numpy as np

    from hvdtrain.data.examples import Examples

    texts, labels = read(download.require())
    return Examples(
        inputs=texts,
        targets=np.array([CLASSES.index(label) for label in labels], dtype=np.int64),
        fingerprint=download.fingerprint,
        class_names=CLASSES,
        notes=(f"of {total} {unit}, {total - len(texts)} that {left_out} are left out: {len(texts)} remain",),
    )
