"""Encoders: raw inputs to arrays, and back from the JSON of a checkpoint."""

from __future__ import annotations

import json

import numpy as np
import pytest

from hvdtrain.data import encoders
from hvdtrain.data.encoders import (
    CorpusEncoder,
    EnvironmentEncoder,
    ImageEncoder,
    PairEncoder,
    TableEncoder,
    TextEncoder,
)
from hvdtrain.data.tokenizers import load_tokenizer
from hvdtrain.data.tokenizers.bytes import ByteTokenizer
from hvdtrain.errors import CheckpointError

EOS = 256


@pytest.fixture(scope="module")
def tokenizer():
    return ByteTokenizer()


def test_texts_end_with_the_end_of_text_and_lose_theirs_where_they_are_too_long(tokenizer) -> None:
    encoder = TextEncoder(tokenizer=tokenizer, max_seq_len=4)
    found = encoder.encode(["ab", "abcdef", ""])["inputs"]
    assert found.tolist() == [[97, 98, EOS, EOS], [97, 98, 99, EOS], [EOS] * 4]
    assert found.dtype == np.int64


def test_a_batch_is_as_wide_as_its_longest_text(tokenizer) -> None:
    assert PairEncoder(tokenizer=tokenizer, max_seq_len=99).encode(["a", "abc"])["source"].shape == (2, 4)


def test_rows_lose_the_mean_and_are_divided_by_the_deviation() -> None:
    encoder = TableEncoder(mean=np.array([1.0, 10.0]), std=np.array([2.0, 5.0]))
    found = encoder.encode([[3, 0], [1, 10]])["inputs"]
    assert found.tolist() == [[1.0, -2.0], [0.0, 0.0]]
    assert found.dtype == np.float32


def test_images_are_normalised_by_channel() -> None:
    encoder = ImageEncoder(shape=(2, 1, 1), mean=np.array([0.0, 1.0]), std=np.array([1.0, 0.5]))
    found = encoder.encode([np.array([[[255]], [[0]]], dtype=np.uint8)])["inputs"]
    assert found.tolist() == [[[[1.0]], [[-2.0]]]]
    assert found.dtype == np.float32


@pytest.mark.parametrize(
    "encoder",
    [
        CorpusEncoder(vocab_size=300, max_seq_len=8),
        TextEncoder(class_names=("bad", "good"), max_seq_len=9),
        PairEncoder(max_seq_len=9),
        TableEncoder(feature_names=("a", "b"), mean=np.array([0.1, 0]), std=np.array([3.0, 1 / 3]), target_mean=0.7),
        ImageEncoder(class_names=("cat",), shape=(3, 8, 9), mean=np.array([0.5] * 3), std=np.array([0.1] * 3)),
        EnvironmentEncoder(class_names=("left", "right"), environment="CartPole-v1", observation=4),
    ],
    ids=lambda encoder: encoder.kind,
)
def test_a_checkpoint_gives_back_what_was_saved(encoder) -> None:
    back = encoders.from_state(json.loads(json.dumps(encoder.state())), None)
    assert type(back) is type(encoder)
    for name in encoder.__dataclass_fields__:
        ours, theirs = getattr(back, name), getattr(encoder, name)
        assert np.array_equal(ours, theirs), name
        assert type(ours) is type(theirs), name


@pytest.mark.parametrize("state", [{"kind": "sounds"}, {}, {"kind": "texts", "rate": 44100}])
def test_the_state_of_another_version_is_said_to_be_one(state: dict[str, object]) -> None:
    with pytest.raises(CheckpointError, match="its encoder is of another version"):
        encoders.from_state(state, None)


def test_the_tokenizer_travels_beside_it(tokenizer, tmp_path) -> None:
    encoder = TextEncoder(tokenizer=tokenizer, max_seq_len=6)
    tokenizer.save(tmp_path / "tokenizer.json")
    back = encoders.from_state(encoder.state(), load_tokenizer(tmp_path / "tokenizer.json"))
    assert back.encode(["hé"])["inputs"].tolist() == encoder.encode(["hé"])["inputs"].tolist()
