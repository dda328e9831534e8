"""Texts with a class each, as a file that fetched sources keep in the cache."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

FILE = "texts.jsonl"


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
