"""English and Spanish: the verses of the Bible, in the King James Version and in Reina and Valera's of 1909.

The two are modules of the SWORD project, both numbered as the King James Version is, so that verses are paired by their
number: 31,102 of them, of which 31,084 have text on both sides. The Spanish one, though, divides some chapters
elsewhere (Numbers 13, 1 Samuel 24, Job 39, Hosea 12, ...), and there a number means another verse. Both texts carry
Strong's numbers, which name the Hebrew or Greek word behind each word: a pair is left out where another Spanish verse
of the same book, up to eight places away, has more of them in common with the English one, by Jaccard's index. That is
221 pairs, about 50 of them not misplaced but like their neighbours. Psalms (whose titles are part of verse 1 in
both), 3 John and Revelation 12 and 13 fit as they are.

Verses that repeat the English text of another are in the same part of the data as it. `shards` are the 66 books.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from hvdtrain.data._config import TextExamplesConfig
from hvdtrain.data._download import DebianPackage, Download
from hvdtrain.errors import DataError

if TYPE_CHECKING:
    from hvdtrain.data.examples import Examples
    from hvdtrain.data.formats.sword import Verse

VERSES, IN_BOTH = 31_102, 31_084
NEIGHBOURS = 8
"""Places between a verse of one text and what was counted elsewhere in the other: at most 5, in Job."""

_FOLDER = "usr/share/sword/modules/texts/ztext/"
ENGLISH = DebianPackage(
    "sword-text-kjv",
    {
        f"{_FOLDER}engKJV2006eb/{name}": digest
        for name, digest in {
            "ot.bzs": "0d518856e8c6ceae0ca58bef944ba9a2809b5d4489cf81900853ad4af227510b",
            "ot.bzv": "b4fae54cb0b979b7f3f78fe6eaa94bad1f1d408eccb4a40410402b794b5c2f0f",
            "ot.bzz": "69f7e4e9b42ecef2e212ea957a388fccbeed1e3e333a38cf52e1b4064c6ce373",
            "nt.bzs": "e7f9bc653743217cdcdf95890a708f997a03af056161d84bb540efef79e4e638",
            "nt.bzv": "9d1daab8fb6ef43b53642cdd3276c1fa95ecfde08901bbb349be6378d1e1b972",
            "nt.bzz": "135b6e70af49372f3a82c5d9cc3c00278f38dbb2c12af74ea8d4b54c18d0cd56",
        }.items()
    },
)
SPANISH = DebianPackage(
    "sword-text-sparv",
    {
        f"{_FOLDER}spaRV1909eb/{name}": digest
        for name, digest in {
            "ot.bzs": "0e39106ae15a29cef56feac683f8482be380536a1c456e006867f9fa94c0338e",
            "ot.bzv": "0f23b1ebff5ecdd352a64feda5bb047cba27ce3624fa7b00717f763835d96e20",
            "ot.bzz": "daae868e179e6cc884ad2c9429a9dfaf9745d61caa6dbb9da2a8b24ec3c01337",
            "nt.bzs": "b88dda1e9ab50d158262ab141af7823269acb19c581621683298be5b6e154d58",
            "nt.bzv": "a9583ba1b4c66dfdd8bfb6a0b1833bdaa02f9e2cc3465c5a802cf19cbc2f2533",
            "nt.bzz": "7baf6b1e798b193315fed89d0e84e8e1a033d035316f66c78d456f5fb8c87e20",
        }.items()
    },
)


class Config(TextExamplesConfig):
    """Verses, English to Spanish, as `hvdtrain data fetch english_spanish` put them into the cache."""

    name: Literal["english_spanish"] = "english_spanish"


def examples(config: Config) -> Examples:
    """Return the pairs of verses; DataError where they were not fetched."""
    import numpy as np

    from hvdtrain.data.examples import Examples

    with (DOWNLOAD.require() / "verses.jsonl").open(encoding="utf-8") as file:
        pairs = [json.loads(line) for line in file]
    return Examples(
        inputs=[pair["english"] for pair in pairs],
        targets=[pair["spanish"] for pair in pairs],
        fingerprint=DOWNLOAD.fingerprint,
        shards=np.array([pair["book"] for pair in pairs], dtype=np.int64),
        notes=(f"left out {IN_BOTH - len(pairs)} verses that the two texts number differently",),
    )


def unpack(archives: Sequence[Path], folder: Path) -> None:
    """Write `verses.jsonl`, a line each of `verse` (its name), `book` (0 to 65), `english` and `spanish`."""
    from hvdtrain.data.formats.sword import verses

    texts: list[list[Verse]] = []
    for archive, package in zip(archives, (ENGLISH, SPANISH), strict=True):
        try:
            texts.append(verses(package.read(archive)))
        except ValueError as error:
            raise DataError(f"{archive} holds no Bible text as expected: {error}") from error
    english, spanish = texts
    if [verse.name for verse in english] != [verse.name for verse in spanish] or len(english) != VERSES:
        raise DataError(f"{archives[0]} and {archives[1]} do not hold the same {VERSES} verses")
    with (folder / "verses.jsonl").open("w", encoding="utf-8") as file:
        for one, other in paired(english, spanish):
            line = {"verse": one.name, "book": one.book, "english": one.text, "spanish": other.text}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


def paired(english: Sequence[Verse], spanish: Sequence[Verse]) -> list[tuple[Verse, Verse]]:
    """Return the verses of equal place that have text in both and no better partner near; see the module."""
    pairs = []
    for place, (one, other) in enumerate(zip(english, spanish, strict=True)):
        near = spanish[max(0, place - NEIGHBOURS) : place + NEIGHBOURS + 1]
        best = max(_in_common(one, each) for each in near if each.book == one.book)
        if one.text and other.text and _in_common(one, other) >= best:
            pairs.append((one, other))
    return pairs


def _in_common(one: Verse, other: Verse) -> float:
    """Return Jaccard's index of the Strong's numbers of two verses."""
    return len(one.strongs & other.strongs) / max(1, len(one.strongs | other.strongs))


DOWNLOAD = Download(
    name="english_spanish",
    version="1",
    summary="30,863 verses of the Bible in English (King James) and Spanish (Reina and Valera 1909)",
    licence="public domain; in the United Kingdom, printing the English text is the Crown's privilege",
    archives=(ENGLISH, SPANISH),
    unpack=unpack,
)
