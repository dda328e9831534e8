"""Documents: every character once, in pieces of bounded size, and errors that say where."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hvdtrain.data import documents
from hvdtrain.data.documents import Document
from hvdtrain.errors import DataError

per_example = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
texts = st.text(st.sampled_from("ab\n\ré東\N{GRINNING FACE}"), max_size=80)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "BLOCK", 7)


@pytest.mark.usefixtures("small_blocks")
@given(text=texts, encoding=st.sampled_from(["utf-8", "utf-16", "utf-8-sig", "gb18030"]))
@per_example
def test_chunks_are_the_text_whatever_blocks_cut_through(text: str, encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(text.encode(encoding))
    chunks = list(Document("text", path, encoding).chunks())
    assert "".join(chunks) == text
    assert all(chunks)
    assert all(chunk.endswith("\n") or len(chunk) > 7 for chunk in chunks[:-1])


@pytest.mark.usefixtures("small_blocks")
@given(text=texts, fraction=st.floats(0.01, 0.5))
@per_example
def test_head_and_tail_are_the_text(text: str, fraction: float, tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(text.encode())
    head, tail = Document("text", path).split_tail(fraction)
    first, second = "".join(head.chunks()), "".join(tail.chunks())
    assert first + second == text
    wanted = len(text) * fraction
    assert wanted / 2 - 1 <= len(second) <= wanted + 1


def test_the_tail_begins_with_a_line(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("".join(f"line {number}\n" for number in range(100)))
    head, tail = Document("text", path).split_tail(0.1)
    assert "".join(head.chunks()).endswith("line 90\n")
    assert "".join(tail.chunks()).startswith("line 91\n")
    assert tail.name == "the tail of text"


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("before", range(15))
def test_bytes_that_are_not_text_are_found_where_they_are(before: int, tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(b"x" * before + b"\xe6\x9d" + b"y" * 9)
    with pytest.raises(DataError, match=f"text is not utf-8: byte {before} .*data.encoding"):
        list(Document("text", path).chunks())


def test_a_text_that_ends_within_a_character_is_found(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(b"abc\xe6\x9d")
    with pytest.raises(DataError, match="not utf-8: byte 3"):
        list(Document("text", path).chunks())


def test_a_file_that_went_away_is_named(tmp_path: Path) -> None:
    document = Document("gone", tmp_path / "gone")
    for read in (document.size, document.digest, lambda: list(document.chunks())):
        with pytest.raises(DataError, match=r"cannot read .*gone: No such file"):
            read()
