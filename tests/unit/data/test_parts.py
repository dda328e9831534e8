"""Parts: every sample in one of them, classes shared out equally, equal samples together, and a source's own parts."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hvdtrain.data.examples import TEST, TRAIN, VAL, Examples
from hvdtrain.data.formats.images import LazyImages
from hvdtrain.data.parts import Parts, make_parts
from hvdtrain.errors import DataError

fractions = st.floats(0.05, 0.45)
seeds = st.integers(0, 2**31)


def table(count: int, **changes: object) -> Examples:
    return Examples(np.arange(2.0 * count).reshape(count, 2), changes.pop("targets", None), "f", **changes)  # type: ignore[arg-type]


def classes(labels: list[int], **changes: object) -> Examples:
    names = tuple(map(str, range(max(labels) + 1)))
    return table(len(labels), targets=np.array(labels), class_names=names, **changes)


def all_rows(parts: Parts) -> list[int]:
    assert parts.test is not None
    return sorted([*parts.train.tolist(), *parts.val.tolist(), *parts.test.tolist()])


@given(count=st.integers(4, 300), val=fractions, test=fractions, seed=seeds)
@settings(deadline=None)
def test_every_sample_is_in_one_part_and_parts_are_as_large_as_asked(
    count: int, val: float, test: float, seed: int
) -> None:
    parts = make_parts(table(count), "t", val, test, seed)
    assert all_rows(parts) == list(range(count))
    assert len(parts.test) == max(1, round(count * test))
    assert len(parts.val) == min(max(1, round(count * val)), count - 1 - len(parts.test))
    for rows in (parts.train, parts.val, parts.test):
        assert (np.diff(rows) > 0).all()


@given(
    labels=st.lists(st.integers(0, 4), min_size=30, max_size=200),
    val=st.floats(0.05, 0.4),
    test=st.floats(0.05, 0.4),
    seed=seeds,
)
@settings(deadline=None)
def test_held_out_classes_are_shared_out_to_within_one_sample(
    labels: list[int], val: float, test: float, seed: int
) -> None:
    parts = make_parts(classes(labels), "t", val, test, seed)
    assert all_rows(parts) == list(range(len(labels)))
    for rows, fraction in ((parts.val, val), (parts.test, test)):
        found = Counter(np.array(labels)[rows].tolist())
        for label, size in Counter(labels).items():
            if size >= 6:  # of a smaller one, its last sample stays in training
                assert abs(found[label] - size * fraction) < 1
    assert set(np.array(labels)[parts.train].tolist()) == set(labels)


def test_the_seed_decides_and_the_test_part_does_not_follow_the_validation_fraction() -> None:
    labels = [0, 1, 2] * 40
    first, again, other = (make_parts(classes(labels), "t", 0.1, 0.2, seed) for seed in (1, 1, 2))
    assert first.test.tolist() == again.test.tolist()
    assert first.val.tolist() == again.val.tolist()
    assert first.test.tolist() != other.test.tolist()
    assert make_parts(classes(labels), "t", 0.3, 0.2, 1).test.tolist() == first.test.tolist()
    assert np.diff(first.test).max() > 3  # drawn from everywhere, not a block


@given(numbers=st.lists(st.integers(0, 25), min_size=12, max_size=80), seed=seeds)
@settings(deadline=None)
def test_equal_texts_are_in_one_part(numbers: list[int], seed: int) -> None:
    if len(set(numbers)) < 4:
        return
    texts = [f"text {number}" for number in numbers]
    for examples in (Examples(texts, None, "f"), Examples(texts, [f"t{i}" for i in range(len(texts))], "f")):
        parts = make_parts(examples, "t", 0.3, 0.2, seed)
        assert all_rows(parts) == list(range(len(texts)))
        sides = [{texts[row] for row in rows.tolist()} for rows in (parts.train, parts.val, parts.test)]
        assert sum(map(len, sides)) == len(set(texts))
        repeated = len(texts) - len(set(texts))
        assert any(note.startswith(f"{repeated} samples repeat the text") for note in parts.notes) == (repeated > 0)


@given(numbers=st.lists(st.integers(0, 60), min_size=40, max_size=80), seed=seeds, images=st.booleans())
@settings(deadline=None)
def test_equal_rows_and_images_are_in_one_part(numbers: list[int], seed: int, images: bool) -> None:
    repeated = len(numbers) - len(set(numbers))
    if repeated > len(numbers) // 2:
        return
    rows = np.array(numbers, dtype=np.uint8 if images else np.float64)
    inputs = np.stack([rows] * 4, 1).reshape(-1, 1, 2, 2) if images else np.stack([np.ones(len(rows)), rows], 1)
    parts = make_parts(Examples(inputs, None, "f"), "t", 0.3, 0.2, seed)
    assert all_rows(parts) == list(range(len(numbers)))
    sides = [set(rows[part].tolist()) for part in (parts.train, parts.val, parts.test)]
    assert sum(map(len, sides)) == len(set(numbers))
    what = "image" if images else "row"
    assert any(note.startswith(f"{repeated} samples repeat the {what} of ") for note in parts.notes) == (repeated > 0)
    assert parts.grouped == repeated


def test_a_row_of_two_given_parts_stays_in_the_last() -> None:
    rows = np.array([0, 1, 2, 3, 4, 5, 6, 0.0])[:, None]
    given_parts = np.array([TRAIN] * 5 + [VAL] + [TEST] * 2, dtype=np.int8)
    parts = make_parts(Examples(rows, None, "f", parts=given_parts), "t", 0.1, 0.1, 1)
    assert (parts.train.tolist(), parts.test.tolist()) == ([1, 2, 3, 4], [6, 7])
    assert parts.notes == ("left out 1 samples whose row is also in a held-out part",)


def test_rows_of_few_values_are_samples_of_their_own() -> None:
    """Four different rows, as of two columns of yes and no: to keep equal ones together would hold out whole kinds."""
    rows = np.array([[0, 0], [0, 1], [1, 0], [1, 1]] * 25, dtype=np.float64)
    parts = make_parts(Examples(rows, None, "f"), "t", 0.2, 0.2, 1)
    assert (len(parts.train), len(parts.val), len(parts.test)) == (60, 20, 20)
    assert parts.notes == ("96 samples repeat the row of another, as columns of few values do: parts may share rows",)
    assert parts.grouped == 0


def test_images_that_are_read_when_needed_are_not_read_for_it() -> None:
    def refuse(number: int) -> np.ndarray:
        raise AssertionError

    images = LazyImages(10, (1, 2, 2), refuse)
    assert len(make_parts(Examples(images, None, "f"), "t", 0.2, 0.2, 1).train) == 6  # type: ignore[arg-type]


def test_what_the_source_sets_apart_is_kept() -> None:
    given_parts = np.array([TRAIN] * 6 + [TEST] * 3 + [VAL], dtype=np.int8)
    parts = make_parts(table(10, parts=given_parts), "t", 0.5, 0.5, 1)
    assert (parts.train.tolist(), parts.test.tolist(), parts.val.tolist()) == ([*range(6)], [6, 7, 8], [9])


def test_a_part_that_the_source_lacks_is_drawn_from_its_training_samples() -> None:
    labels = [0, 1] * 50
    given_parts = np.array([TRAIN] * 80 + [TEST] * 20, dtype=np.int8)
    parts = make_parts(classes(labels, parts=given_parts), "t", 0.25, 0.2, 1)
    assert parts.test.tolist() == [*range(80, 100)]
    assert len(parts.val) == 20
    assert Counter(np.array(labels)[parts.val].tolist()) == {0: 10, 1: 10}
    assert sorted([*parts.train, *parts.val]) == [*range(80)]
    assert given_parts.tolist() == [TRAIN] * 80 + [TEST] * 20  # not written to


def test_a_text_of_two_given_parts_stays_in_the_last() -> None:
    texts = ["a", "b", "c", "a", "b", "d", "d", "e", "e", "f"]
    given_parts = np.array([TRAIN, TRAIN, TRAIN, TEST, VAL, VAL, TEST, TRAIN, TRAIN, TRAIN], dtype=np.int8)
    parts = make_parts(Examples(texts, None, "f", parts=given_parts), "t", 0.1, 0.1, 1)
    assert (parts.train.tolist(), parts.val.tolist(), parts.test.tolist()) == ([2, 7, 8, 9], [4], [3, 6])
    assert parts.notes == ("left out 3 samples whose text is also in a held-out part",)


def test_without_a_validation_part_the_test_part_is_both_and_a_note_says_so() -> None:
    parts = make_parts(table(10), "t", 0.0, 0.3, 1)
    assert parts.val.tolist() == parts.test.tolist()
    assert (len(parts.train), len(parts.test)) == (7, 3)
    assert "validation is on the test part" in parts.notes[0]
    assert make_parts(table(10), "t", 0.3, 0.0, 1).test is None


@pytest.mark.parametrize(
    ("examples", "val", "test", "message"),
    [
        (table(0), 0.1, 0.1, "data 't' has no samples"),
        (table(10), 0.0, 0.0, r"val_fraction and data.test_fraction are 0, .*nothing is held out; set one"),
        (table(4, parts=np.full(4, TEST, np.int8)), 0.1, 0.1, "has no training samples: 4 in all, 4 held out"),
        (table(2), 0.1, 0.1, r"too few samples, 2, to hold out data.val_fraction = 0.1"),
        (table(1), 0.0, 0.1, r"too few samples, 1, to hold out data.test_fraction = 0.1"),
    ],
)
def test_parts_that_cannot_be_made_are_explained(examples: Examples, val: float, test: float, message: str) -> None:
    with pytest.raises(DataError, match=message):
        make_parts(examples, "t", val, test, 1)
