"""Byte-pair encoding over bytes, trained on the training split with the `tokenizers` library.

The algorithm: Sennrich et al. 2016 (https://arxiv.org/abs/1508.07909), on bytes and with the word pattern of GPT-2.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, PositiveInt

from hvdtrain.data.tokenizers._tokenizer import Tokenizer, read_file
from hvdtrain.errors import DataError
from hvdtrain.registry import RegisteredConfig

if TYPE_CHECKING:
    import tokenizers


class Config(RegisteredConfig):
    """`vocab_size` counts the 256 bytes, the merges and the end of document; `min_frequency` is a merge's least count.

    A small corpus may hold fewer merges than asked for: the tokenizer is then smaller.
    """

    name: Literal["bpe"] = "bpe"
    vocab_size: int = Field(ge=257, le=1_000_000)
    min_frequency: PositiveInt = 2


class BPETokenizer(Tokenizer):
    """A trained byte-level BPE. The end of a document is no token of the engine, so no text can spell it."""

    name = "bpe"

    def __init__(self, engine: tokenizers.Tokenizer) -> None:
        super().__init__(_pieces(engine))
        self._engine = engine

    def encode(self, text: str) -> list[int]:
        return self._engine.encode(text, add_special_tokens=False).ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        return [found.ids for found in self._engine.encode_batch_fast(list(texts), add_special_tokens=False)]

    def _content(self) -> dict[str, Any]:
        return {"engine": json.loads(self._engine.to_str())}


def train(config: Config, texts: Iterator[str]) -> BPETokenizer:
    """Learn the merges from texts; the same texts in the same order give the same tokenizer."""
    import tokenizers
    from tokenizers import models, pre_tokenizers, trainers

    engine = tokenizers.Tokenizer(models.BPE())
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocab_size - 1,
        min_frequency=config.min_frequency,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    engine.train_from_iterator(texts, trainer)
    return BPETokenizer(engine)


def load(path: Path) -> BPETokenizer:
    """Return the tokenizer in a file.

    Raises:
        DataError: the file is missing or damaged.
    """
    import tokenizers

    content = read_file(path)
    try:
        engine = tokenizers.Tokenizer.from_str(json.dumps(content["engine"]))
        return BPETokenizer(engine)
    except Exception as error:  # the library raises plain Exception
        raise DataError(f"{path} is not a tokenizer that hvdtrain saved: its BPE model is damaged ({error})") from error


def _pieces(engine: tokenizers.Tokenizer) -> list[bytes]:
    """Return the bytes of each id; ValueError where ids have gaps or a byte is missing."""
    byte_of = {character: byte for byte, character in enumerate(_byte_characters())}
    vocabulary = sorted(engine.get_vocab().items(), key=lambda item: item[1])
    if [index for _, index in vocabulary] != list(range(len(vocabulary))):
        raise ValueError("its ids have gaps")
    pieces = [bytes(byte_of[character] for character in token) for token, _ in vocabulary]
    if not {bytes([value]) for value in range(256)} <= set(pieces):
        raise ValueError("it lacks some bytes")
    return pieces


def _byte_characters() -> list[str]:
    """Return the printable character by which byte-level BPE writes each byte, as GPT-2's `bytes_to_unicode` does."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    characters = {byte: chr(byte) for byte in printable}
    others = (byte for byte in range(256) if byte not in characters)
    characters |= {byte: chr(256 + position) for position, byte in enumerate(others)}
    return [characters[byte] for byte in range(256)]
