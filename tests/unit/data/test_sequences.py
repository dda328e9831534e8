"""Windows over a token stream: each token but the first is a target once, with the token before it as its input."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hvdtrain.data.sequences import IGNORED, SequenceDataset


@given(length=st.integers(2, 100), max_seq_len=st.integers(1, 30))
@settings(deadline=None)
def test_nothing_of_the_stream_is_lost_or_repeated(length: int, max_seq_len: int) -> None:
    stream = np.random.default_rng(0).integers(1, 60_000, length).astype(np.uint16)
    dataset = SequenceDataset(stream, max_seq_len)
    batch = dataset.batch(np.arange(len(dataset)))
    assert batch["inputs"].shape == batch["targets"].shape == (len(dataset), max_seq_len)
    assert batch["inputs"].dtype == batch["targets"].dtype == torch.int64
    valid = batch["targets"] != IGNORED
    assert batch["targets"][valid].tolist() == stream[1:].tolist()
    assert batch["inputs"][valid].tolist() == stream[:-1].tolist()
    assert not batch["inputs"][~valid].any()
    assert valid[:-1].all()  # only the last window is short
    assert dataset.targets == length - 1


def test_rows_come_in_the_order_asked_for() -> None:
    dataset = SequenceDataset(np.arange(10, dtype=np.uint16), 2)
    assert dataset.batch(np.array([4, 0, 4]))["inputs"].tolist() == [[8, 0], [0, 1], [8, 0]]
    assert dataset.batch(np.array([4]))["targets"].tolist() == [[9, IGNORED]]


def test_no_indices_give_an_empty_batch() -> None:
    assert SequenceDataset(np.arange(9, dtype=np.uint16), 4).batch(np.empty(0, np.int64))["inputs"].shape == (0, 4)


@pytest.mark.parametrize("index", [-1, 2])
def test_an_index_outside_is_an_error(index: int) -> None:
    with pytest.raises(IndexError, match=f"no sample {index} in a data set of 2"):
        SequenceDataset(np.arange(9, dtype=np.uint16), 4).batch(np.array([index]))


def test_a_sequence_is_of_the_document_that_its_first_token_is_from() -> None:
    """By hand: documents of 3, 1 and 5 tokens and sequences of 2, which begin at 0, 2, 4 and 6."""
    dataset = SequenceDataset(np.arange(9, dtype=np.uint16), 2, np.array([3, 4, 9]))
    assert dataset.shards is not None
    assert dataset.shards.tolist() == [0, 0, 2, 2]
    assert SequenceDataset(np.arange(9, dtype=np.uint16), 2).shards is None
