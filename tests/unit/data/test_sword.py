"""Bible modules: a small one is read as it was written, its markup is gone, and verses find their partner."""

from __future__ import annotations

import struct
import zlib

import pytest

from hvdtrain.data.formats.sword import Verse, plain, verses
from hvdtrain.data.sources.english_spanish import NEIGHBOURS, paired


def module(testament: str, books: list[list[str]]) -> dict[str, bytes]:
    """The three files of a testament: two entries of the module itself, then the entries of each book."""
    streams, index = [b"<milestone/>"], [(0, 0, 0), (0, 0, 12)]
    for number, entries in enumerate(books, start=1):
        stream = b""
        for entry in entries:
            content = entry.encode()
            index.append((number, len(stream), len(content)))
            stream += content
        streams.append(stream)
    packed, places = b"", b""
    for stream in streams:
        small = zlib.compress(stream)
        places += struct.pack("<III", len(packed), len(small), len(stream))
        packed += small
    verse_index = b"".join(struct.pack("<IIH", *entry) for entry in index)
    return {f"{testament}.bzs": places, f"{testament}.bzv": verse_index, f"{testament}.bzz": packed}


def book(name: str) -> str:
    return f'<div canonical="true" osisID="{name}" sID="gen1" type="book"/> <title type="main">{name}</title>'


def chapter(name: str) -> str:
    return f'<chapter n="1" osisID="{name}" sID="{name}"/> '


GENESIS = [
    book("Gen"),
    chapter("Gen.1"),
    'In <w lemma="strong:H0430">God</w>, é. ',
    "",
    '<w lemma="strong:H7225 strong:H0001">two</w> <chapter eID="Gen.1" osisID="Gen.1"/>',
    chapter("Gen.2"),
    'Next.<div eID="gen1" osisID="Gen" type="book"/>',
]
EXODUS = [book("Exod"), chapter("Exod.1"), "Now."]
MATTHEW = [book("Matt"), chapter("Matt.1"), '<w lemma="strong:G0001">Alpha</w>', "Last."]


def test_entries_become_named_verses_of_numbered_books() -> None:
    found = verses(module("ot", [GENESIS, EXODUS]) | module("nt", [MATTHEW]))
    assert found == [
        Verse("Gen.1.1", 0, "In God, é.", frozenset({"H430"})),
        Verse("Gen.1.2", 0, "", frozenset()),
        Verse("Gen.1.3", 0, "two", frozenset({"H7225", "H1"})),
        Verse("Gen.2.1", 0, "Next.", frozenset()),
        Verse("Exod.1.1", 1, "Now.", frozenset()),
        Verse("Matt.1.1", 2, "Alpha", frozenset({"G1"})),
        Verse("Matt.1.2", 2, "Last.", frozenset()),
    ]


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ('God.<note placement="foot"><reference>1.4 </reference>the <w>light</w></note> And', "God. And"),
        ("<note>a</note>One<note>b</note> two", "One two"),
        ('<title type="psalm">A <w>Psalm</w>.</title><lg sID="1"/>Sing', "A Psalm. Sing"),
        ("<title><foreign>ב BETH.</foreign></title> Wherewithal", "Wherewithal"),
        ("¶ I <transChange>am</transChange> the \\nd <w>LORD</w></divineName>", "I am the LORD"),
        ("salt &amp; light &lt;", "salt & light <"),
        ("  ", ""),
    ],
)
def test_markup_and_footnotes_are_taken_out(entry: str, text: str) -> None:
    assert plain(entry) == text


def test_strongs_numbers_of_footnotes_are_none_of_the_verse() -> None:
    entry = '<w lemma="strong:H2">a</w><note><w lemma="strong:H3">b</w></note>'
    found = verses(module("ot", [[book("Gen"), chapter("Gen.1"), entry]]) | module("nt", []))
    assert found[0].strongs == {"H2"}


@pytest.mark.parametrize("name", ["ot.bzs", "ot.bzv", "ot.bzz", "nt.bzz"])
def test_files_that_are_cut_off_are_refused(name: str) -> None:
    files = module("ot", [GENESIS, EXODUS]) | module("nt", [MATTHEW])
    with pytest.raises(ValueError, match="zText|stream"):
        verses(files | {name: files[name][:-7]})


def verse(place: int, strongs: str, text: str = "text", number: int = 0) -> Verse:
    return Verse(f"B.1.{place}", number, text, frozenset(strongs))


def test_a_verse_with_a_better_partner_near_is_left_out() -> None:
    english = [verse(0, "abc"), verse(1, "def"), verse(2, "ghi"), verse(3, "jkl"), verse(4, "mno", "")]
    shifted = [verse(0, "abc"), verse(1, "xyz"), verse(2, "def"), verse(3, "jkl"), verse(4, "mno")]
    assert [one.name for one, _ in paired(english, shifted)] == ["B.1.0", "B.1.2", "B.1.3"]


def test_only_verses_of_the_same_book_that_are_near_are_partners() -> None:
    count = NEIGHBOURS + 2
    english = [verse(0, "abc"), *(verse(place, "d") for place in range(1, count))]
    for place, left_out in ((NEIGHBOURS, True), (NEIGHBOURS + 1, False)):
        spanish = [verse(0, "ab"), *(verse(each, "d") for each in range(1, count))]
        spanish[place] = verse(place, "abc")
        assert ("B.1.0" not in [one.name for one, _ in paired(english, spanish)]) is left_out
    other_book = [verse(0, "ab"), *(verse(place, "abc", number=1) for place in range(1, count))]
    assert paired(english[:1] + other_book[1:], other_book)[0][0].name == "B.1.0"
