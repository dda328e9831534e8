"""Movie reviews: sentences of reviews from rottentomatoes.com, with what people thought of their tone.

The 10,605 snippets that came with VADER (Hutto and Gilbert, ICWSM 2014), cut from the reviews of Pang and Lee (2004);
each was rated by 20 people from -4, most negative, to 4, and has the mean. Here the sign is the class: 37 snippets with
a mean of 0 are left out, and 2 that repeat another. 10,566 remain, about as many of each class. HTML's entities are
made characters (`&amp;`).
"""

from __future__ import annotations

import html
import re
import tempfile
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

SNIPPETS = 10_605
INNER = re.compile(r"vaderSentiment-3\.3\.2/additional_resources/hutto_ICWSM_2014\.tar\.gz")
MEMBER = re.compile(r"hutto_ICWSM_2014/movieReviewSnippets_GroundTruth\.txt")


class Config(TextExamplesConfig):
    """Snippets of movie reviews, as `hvdtrain data fetch movie_reviews` put them into the cache."""

    name: Literal["movie_reviews"] = "movie_reviews"


def examples(config: Config) -> Examples:
    """Return each snippet once; DataError where they were not fetched."""
    return _labelled_texts.reviews(
        DOWNLOAD, SNIPPETS, "snippets", "are neither negative nor positive, or repeat another,"
    )


def unpack(archives: Sequence[Path], folder: Path) -> None:
    """Write the snippets with a sign, each once, in the order of the source."""
    (archive,) = archives
    (inner,) = read_members(archive, INNER).values()
    with tempfile.TemporaryDirectory() as own:
        path = Path(own) / "hutto_ICWSM_2014.tar.gz"
        path.write_bytes(inner)
        (content,) = read_members(path, MEMBER).values()
    try:
        scores = _scores(content.decode("utf-8"))
    except ValueError as error:
        raise DataError(f"{archive}: the snippets are not as expected: {error}") from error
    _labelled_texts.write(folder, ((text, CLASSES[score > 0]) for text, score in scores.items() if score))


def _scores(content: str) -> dict[str, float]:
    """Return the score of each text: lines of a number, the score and the text, with tabs between."""
    rows = [line.split("\t") for line in content.splitlines()]
    if len(rows) != SNIPPETS or any(len(row) != 3 for row in rows):
        raise ValueError(f"{len(rows)} lines, or other columns")
    scores: dict[str, float] = {}
    for _, score, text in rows:
        scores.setdefault(" ".join(html.unescape(text).split()), float(score))
    return scores


DOWNLOAD = Download(
    name="movie_reviews",
    version="3.3.2",
    summary="10,566 sentences of movie reviews, negative or positive (Hutto and Gilbert 2014)",
    licence="ratings and collection MIT, C.J. Hutto; the sentences are quoted from reviews and stay their authors'",
    archives=(
        PypiArchive("vaderSentiment", "3.3.2", "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9"),
    ),
    unpack=unpack,
)
