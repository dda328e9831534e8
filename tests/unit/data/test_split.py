"""The split: whole documents, none on both sides, about the fraction asked for, decided by the seed."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hvdtrain.data.documents import Document
from hvdtrain.data.split import split


def corpus(count: int) -> list[Document]:
    return [Document(f"{number}", Path(f"{number}")) for number in range(count)]


@given(
    sizes=st.lists(st.integers(1, 100), min_size=20, max_size=60),
    fraction=st.floats(0.15, 0.5),
    seed=st.integers(0, 2**32 - 1),
)
@settings(deadline=None)
def test_documents_are_parted_whole(sizes: list[int], fraction: float, seed: int) -> None:
    documents = corpus(len(sizes))
    parts = split(documents, sizes, fraction, seed)
    assert not set(parts.train) & set(parts.val)
    assert set(parts.train) | set(parts.val) == set(documents)
    assert list(parts.train) == [document for document in documents if document in parts.train]
    size_of = dict(zip(documents, sizes, strict=True))
    used = sum(size_of[document] for document in parts.val)
    assert used <= fraction * sum(sizes)
    # another document would not have fitted
    assert used + min(size_of[document] for document in parts.train) > fraction * sum(sizes)
    assert parts.notes == ()


def test_the_seed_decides() -> None:
    documents, sizes = corpus(40), [10] * 40
    drawn = [split(documents, sizes, 0.1, seed).val for seed in (1, 1, 2, 3)]
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) == 3


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_corpus_of_few_documents_gives_the_tail_of_its_largest(count: int, tmp_path: Path) -> None:
    documents = []
    for number in range(count):
        path = tmp_path / f"{number}"
        path.write_text("".join(f"{number} {line:07}\n" for line in range(100 + (number == 1))))
        documents.append(Document(f"{number}", path))
    parts = split(documents, [document.size() for document in documents], 0.05, 1)
    largest = min(1, count - 1)
    (tail,) = parts.val
    head = parts.train[largest]
    assert "".join(head.chunks()) + "".join(tail.chunks()) == documents[largest].path.read_text()
    assert [*parts.train[:largest], *parts.train[largest + 1 :]] == [d for d in documents if d != documents[largest]]
    share = len("".join(tail.chunks())) / sum(document.size() for document in documents)
    assert share == pytest.approx(0.05, abs=0.01)
    (note,) = parts.notes
    assert f"of {largest}, because" in note
    assert ("only document" in note) == (count == 1)
