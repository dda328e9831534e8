"""Texts in memory are documents like files are: the same text, size, digest and parts."""

from __future__ import annotations

import hashlib
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from hvdtrain.data.documents import Document, TextDocument

texts = st.text(st.sampled_from("ab\n\ré東\N{GRINNING FACE}"), max_size=80)


@settings(deadline=None)
@given(text=texts)
def test_its_chunks_are_the_text(text: str) -> None:
    assert "".join(TextDocument("t", text).chunks()) == text


@settings(deadline=None)
@given(text=texts, fraction=st.floats(0.01, 0.5))
def test_its_head_and_tail_are_the_text(text: str, fraction: float) -> None:
    head, tail = TextDocument("t", text).split_tail(fraction)
    assert head.text + tail.text == text
    assert abs(len(tail.text) - fraction * len(text)) < 0.501
    assert (head.name, tail.name) == ("t", "the tail of t")


def test_a_file_of_the_same_text_is_the_same_document(tmp_path: Path) -> None:
    text = "é東\r\nline\n" * 50
    path = tmp_path / "text"
    path.write_bytes(text.encode())
    file, memory = Document("text", path), TextDocument("text", text)
    assert (memory.size(), memory.digest(), memory.encoding) == (file.size(), file.digest(), file.encoding)
    assert memory.digest() == hashlib.sha256(text.encode()).hexdigest()
