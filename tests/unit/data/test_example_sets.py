"""Data sets of samples: what a batch holds, computed by hand; padding; empty batches; indices that are not there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from hvdtrain.data.encoders import ImageEncoder, TableEncoder
from hvdtrain.data.example_sets import ArrayDataset, PairDataset, TextDataset
from hvdtrain.data.token_rows import TokenRows, read_rows, write_rows
from hvdtrain.data.tokenizers.bytes import ByteTokenizer

EOS = 256
NOTHING = np.arange(0)


def rows(*texts: str) -> TokenRows:
    encoded = [text.encode() for text in texts]
    ids = np.frombuffer(b"".join(encoded), dtype=np.uint8).astype("<u2")
    return TokenRows(ids, np.cumsum([0, *map(len, encoded)]), EOS)


def test_rows_are_picked_and_standardised() -> None:
    raw = np.arange(12.0).reshape(6, 2)
    encoder = TableEncoder(mean=np.array([1.0, -1.0]), std=np.array([2.0, 4.0]))
    labels, shards = np.array([0, 1, 2, 0, 1, 2]), np.array([9, 8, 7, 6, 5, 4])
    data = ArrayDataset(raw, encoder, np.array([1, 3, 5]), labels, labels, shards)
    batch = data.batch(np.array([2, 0]))
    assert batch["inputs"].tolist() == [[(10 - 1) / 2, (11 + 1) / 4], [(2 - 1) / 2, (3 + 1) / 4]]
    assert batch["inputs"].dtype == torch.float32
    assert batch["targets"].tolist() == [2, 1]
    assert batch["targets"].dtype == torch.int64
    assert (len(data), data.targets) == (3, 3)
    assert data.labels is not None
    assert data.labels.tolist() == [1, 0, 2]
    assert data.shards is not None
    assert data.shards.tolist() == [8, 6, 4]


def test_images_are_standardised_a_channel_each() -> None:
    raw = np.random.default_rng(1).integers(256, size=(5, 3, 4, 6), dtype=np.uint8)
    encoder = ImageEncoder(shape=(3, 4, 6), mean=np.array([0.1, 0.2, 0.3]), std=np.array([1.0, 2.0, 4.0]))
    batch = ArrayDataset(raw, encoder, np.array([4, 2])).batch(np.array([1, 0]))
    for channel, (mean, std) in enumerate([(0.1, 1.0), (0.2, 2.0), (0.3, 4.0)]):
        expected = (raw[[2, 4], channel] / 255.0 - mean) / std
        torch.testing.assert_close(batch["inputs"][:, channel].numpy(), expected.astype(np.float32))
    assert "targets" not in batch


class OnDemand:
    """Images that are read when they are asked for."""

    shape = (4, 1, 2, 2)

    def __init__(self) -> None:
        self.asked: list[list[int]] = []

    def __getitem__(self, indices: np.ndarray) -> np.ndarray:
        self.asked.append(indices.tolist())
        return np.full((len(indices), 1, 2, 2), 255, dtype=np.uint8)


def test_images_on_demand_are_read_for_their_batch_alone() -> None:
    raw = OnDemand()
    encoder = ImageEncoder(shape=(1, 2, 2), mean=np.zeros(1), std=np.ones(1))
    data = ArrayDataset(raw, encoder, np.array([3, 1]))  # type: ignore[arg-type]
    assert raw.asked == []
    assert data.batch(np.array([0])).keys() == {"inputs"}
    assert data.batch(NOTHING)["inputs"].shape == (0, 1, 2, 2)
    assert raw.asked == [[3]]


def test_texts_are_cut_ended_and_filled_up() -> None:
    data = TextDataset(rows("abcdef", "", "xy"), 4, np.array([2, 0, 1]), np.array([5, 6, 7]))
    batch = data.batch(np.array([0, 1, 2]))
    a, b, c, x, y = b"abcxy"
    assert batch["inputs"].tolist() == [[x, y, EOS, EOS], [a, b, c, EOS], [EOS] * 4]
    assert batch["targets"].tolist() == [7, 5, 6]
    assert data.batch(np.array([0]))["inputs"].tolist() == [[x, y, EOS]]  # as long as the longest of the batch
    assert data.batch(np.array([2]))["inputs"].tolist() == [[EOS]]


def test_pairs_begin_with_the_end_of_text_and_leave_out_what_is_filled() -> None:
    data = PairDataset(rows("ab", "c"), rows("x", "vwxyz"), 4, np.array([0, 1]), np.array([3, 4]))
    a, b, c, v, w, x = b"abcvwx"
    batch = data.batch(np.array([0, 1]))
    assert batch["source"].tolist() == [[a, b, EOS], [c, EOS, EOS]]
    assert batch["inputs"].tolist() == [[EOS, x, EOS, EOS], [EOS, v, w, x]]
    assert batch["targets"].tolist() == [[x, EOS, -100, -100], [v, w, x, EOS]]
    assert data.targets == 6 == int((batch["targets"] != -100).sum())
    assert data.labels is None
    assert data.shards is not None
    assert data.shards.tolist() == [3, 4]


@pytest.mark.parametrize("wrong", [-1, 2])
def test_an_index_outside_is_an_error(wrong: int) -> None:
    data = TextDataset(rows("a", "b", "c"), 4, np.array([0, 1]))
    with pytest.raises(IndexError, match=f"no sample {wrong} in a data set of 2"):
        data.batch(np.array([0, wrong]))


def test_empty_batches_have_all_dimensions() -> None:
    table = ArrayDataset(np.ones((3, 5)), TableEncoder(mean=np.zeros(5), std=np.ones(5)), np.arange(3), np.ones(3))
    shapes = {name: tuple(tensor.shape) for name, tensor in table.batch(NOTHING).items()}
    assert shapes == {"inputs": (0, 5), "targets": (0,)}
    pairs = PairDataset(rows("a"), rows("b"), 4, np.arange(1)).batch(NOTHING)
    assert {name: tuple(tensor.shape) for name, tensor in pairs.items()} == dict.fromkeys(pairs, (0, 1))
    assert {tensor.dtype for tensor in pairs.values()} == {torch.int64}


@pytest.mark.parametrize("texts", [["a", "", "héllo", "b" * 5000], ["", ""], []], ids=["some", "empty", "none"])
def test_token_rows_are_read_as_written(texts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hvdtrain.data.token_rows.TEXTS_AT_ONCE", 3)
    tokenizer = ByteTokenizer()
    write_rows(texts, tokenizer, tmp_path, "texts")
    found = read_rows(tokenizer, tmp_path, "texts")
    assert len(found) == len(texts)
    for row, text in enumerate(texts):
        assert tokenizer.decode(found.ended(row, 10_000)[:-1].tolist()) == text
    every = np.arange(len(texts))
    assert found.whole_lengths(every).tolist() == [len(text.encode()) for text in texts]
    assert found.ended_lengths(every, 3).tolist() == [len(found.ended(row, 3)) for row in range(len(texts))]
