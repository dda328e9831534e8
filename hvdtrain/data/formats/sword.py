"""Reading Bible texts of the SWORD project: modules of the kind `zText`, with OSIS markup.

The format is that of `zVerse` in the SWORD library (https://crosswire.org/sword). A testament has three files: `.bzz`,
zlib streams; `.bzs`, for each of them its place, its size and its unpacked size, 4 bytes each; `.bzv`, for each entry
the number of its stream, its place in it unpacked (4 bytes each) and its size (2 bytes). All little-endian. Entries are
introductions of books and chapters, and verses; where a stream is a book (`BlockType=BOOK`), its number is the book's.
"""

from __future__ import annotations

import html
import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

TESTAMENTS = ("ot", "nt")
FILES = tuple(f"{testament}.{end}" for testament in TESTAMENTS for end in ("bzs", "bzv", "bzz"))

# Some entries are no well-formed XML (`\nd LORD</divineName>`), so that an XML parser can't read them.
_HIDDEN = re.compile(r"<(note|foreign)\b.*?</\1>", re.DOTALL)
_TAG = re.compile(r"<[^>]*>")
_LEFTOVER = re.compile(r"\\\+?\w+\*?|¶")
_BOOK = re.compile(r'<div [^>]*osisID="(\w+)" sID="[^"]*" type="book"/>')
_CHAPTER = re.compile(r'<chapter [^>]*osisID="([\w.]+)" sID=')
_STRONG = re.compile(r"strong:([HG])0*(\d+)")


@dataclass(frozen=True)
class Verse:
    """A verse: `name` such as `Ps.23.1`, `book` counted from 0 over both testaments, `text` without markup, and the
    Strong's numbers of its words, each of which stands for one Hebrew or Greek word whatever the language."""

    name: str
    book: int
    text: str
    strongs: frozenset[str]


def verses(files: Mapping[str, bytes]) -> list[Verse]:
    """Return all verses of a module in order, empty ones too.

    The texts have no footnotes, no Strong's numbers and no paragraph signs, but the titles of psalms.

    Args:
        files: the content of each of `FILES`, by name.

    Raises:
        ValueError: the files are no such module.
    """
    found: list[Verse] = []
    book, chapter, number = -1, "", 0
    for testament in TESTAMENTS:
        for entry in _entries(*(files[f"{testament}.{end}"] for end in ("bzs", "bzv", "bzz"))):
            if _BOOK.search(entry):
                book, chapter = book + 1, ""
            elif starts := _CHAPTER.search(entry):
                chapter, number = starts.group(1), 0
            elif chapter:
                number += 1
                found.append(Verse(f"{chapter}.{number}", book, plain(entry), _strongs(entry)))
        chapter = ""
    return found


def plain(entry: str) -> str:
    """Return the text of an entry without markup, footnotes and letters of other alphabets, in single spaces."""
    text = _TAG.sub("", _HIDDEN.sub("", entry).replace("</title>", "</title> "))
    return " ".join(_LEFTOVER.sub("", html.unescape(text)).split())


def _strongs(entry: str) -> frozenset[str]:
    return frozenset(letter + digits for letter, digits in _STRONG.findall(_HIDDEN.sub("", entry)))


def _entries(places: bytes, index: bytes, packed: bytes) -> Iterator[str]:
    """Yield the entries of a testament, empty ones too."""
    try:
        streams = [zlib.decompress(packed[at : at + size]) for at, size, _ in struct.iter_unpack("<III", places)]
        for number, at, size in struct.iter_unpack("<IIH", index):
            entry = streams[number][at : at + size] if size else b""
            if len(entry) != size:
                raise ValueError("an entry ends outside of its stream")
            yield entry.decode("utf-8")
    except (zlib.error, struct.error, IndexError) as error:
        raise ValueError(f"no zText module: {error}") from error
