"""Tokenizers: exact round trips, byte lengths, files that come back equal, and files that do not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hvdtrain.data.tokenizers import bpe, load_tokenizer
from hvdtrain.data.tokenizers import bytes as byte_tokenizer
from hvdtrain.data.tokenizers._tokenizer import Tokenizer
from hvdtrain.errors import DataError
from hvdtrain.registry import names

TEXT = "the cat sat on the mat; the dog sat on the log.\n" * 30 + "naïve café, 東京 \N{GRINNING FACE}\n" * 5


def trained(vocab_size: int = 320, text: str = TEXT) -> Tokenizer:
    return bpe.train(bpe.Config(vocab_size=vocab_size), iter([text]))


TOKENIZERS = {"bpe": trained(), "bytes": byte_tokenizer.train(byte_tokenizer.Config(), iter([]))}
anything = st.text() | st.text(st.sampled_from("the sat\n \t\r'é東\x00")) | st.just("<|endoftext|></s>[UNK] Ġ ĊÂ")


def test_every_registered_tokenizer_is_tested_here() -> None:
    assert set(TOKENIZERS) == set(names("tokenizers"))


@pytest.mark.parametrize("name", TOKENIZERS)
@given(text=anything)
@settings(deadline=None)
def test_any_text_survives_exactly(name: str, text: str) -> None:
    tokenizer = TOKENIZERS[name]
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.decode_bytes(ids) == text.encode()
    assert all(0 <= token < tokenizer.eos_id for token in ids)
    assert tokenizer.token_bytes()[ids].sum() == len(text.encode())


@pytest.mark.parametrize("name", TOKENIZERS)
@given(texts=st.lists(anything, max_size=5))
@settings(deadline=None)
def test_a_batch_is_encoded_like_its_texts(name: str, texts: list[str]) -> None:
    assert TOKENIZERS[name].encode_batch(texts) == [TOKENIZERS[name].encode(text) for text in texts]


@pytest.mark.parametrize("name", TOKENIZERS)
def test_the_end_of_a_document_is_the_last_id_and_no_bytes(name: str) -> None:
    tokenizer = TOKENIZERS[name]
    assert tokenizer.eos_id == tokenizer.vocab_size - 1
    assert tokenizer.decode_bytes([tokenizer.eos_id]) == b""
    lengths = tokenizer.token_bytes()
    assert lengths.shape == (tokenizer.vocab_size,)
    assert lengths[tokenizer.eos_id] == 0
    assert (lengths[:-1] > 0).all()


@pytest.mark.parametrize("name", TOKENIZERS)
def test_half_a_character_decodes_to_a_replacement_and_to_its_bytes(name: str) -> None:
    tokenizer = TOKENIZERS[name]
    first = next(token for token in range(256) if tokenizer.decode_bytes([token]) == b"\xe6")
    assert tokenizer.decode([first]) == "\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize("name", TOKENIZERS)
def test_a_saved_tokenizer_comes_back_equal(name: str, tmp_path: Path) -> None:
    tokenizer = TOKENIZERS[name]
    tokenizer.save(tmp_path / "one.json")
    again = load_tokenizer(tmp_path / "one.json")
    again.save(tmp_path / "two.json")
    assert type(again) is type(tokenizer)
    assert again.fingerprint == tokenizer.fingerprint
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()
    assert again.encode(TEXT) == tokenizer.encode(TEXT)
    assert again.decode(again.encode(TEXT)) == TEXT


def test_bpe_has_the_size_asked_for_and_shortens_text() -> None:
    assert trained(290).vocab_size == 290
    assert len(trained(290).encode(TEXT)) < len(TEXT.encode()) / 2
    assert max(trained(290).token_bytes()) > 2


def test_bpe_of_a_small_text_is_smaller_than_asked_for() -> None:
    tokenizer = trained(5000, "ab ab")
    assert 257 < tokenizer.vocab_size < 270
    assert trained(5000, "").vocab_size == 257


def test_bpe_minds_the_least_frequency() -> None:
    rare = bpe.train(bpe.Config(vocab_size=5000, min_frequency=1000), iter([TEXT]))
    assert rare.vocab_size == 257


def test_training_is_repeatable_and_needs_no_text_at_once() -> None:
    def lines() -> Iterator[str]:
        yield from TEXT.splitlines(keepends=True)

    prints = {bpe.train(bpe.Config(vocab_size=290), lines()).fingerprint for _ in range(3)}
    assert prints == {trained(290).fingerprint}
    assert trained(290).fingerprint != trained(289).fingerprint


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read the tokenizer"),
        ("{", "it is not JSON"),
        ("[]", "it has no format"),
        ('{"format": "other"}', "it has no format"),
        (
            '{"format": "hvdtrain-tokenizer-1", "name": "bpee"}',
            r"of kind 'bpee' \(known: bpe, bytes\); did you mean 'bpe'",
        ),
        ('{"format": "hvdtrain-tokenizer-1", "name": "bpe"}', "its BPE model is damaged"),
        ('{"format": "hvdtrain-tokenizer-1", "name": "bpe", "engine": {"model": 3}}', "its BPE model is damaged"),
    ],
)
def test_a_file_that_is_no_tokenizer_gets_a_clear_message(content: str | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        load_tokenizer(path)
    assert str(path) in str(caught.value)


def test_a_model_without_all_bytes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    trained().save(path)
    content = json.loads(path.read_text())
    content["engine"]["model"] |= {"vocab": {"a": 0, "b": 1}, "merges": []}
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match="lacks some bytes"):
        load_tokenizer(path)
