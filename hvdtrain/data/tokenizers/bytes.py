"""Each UTF-8 byte is a token: nothing to train, 256 ids and one for the end of a document."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from hvdtrain.data.tokenizers._tokenizer import Tokenizer, read_file
from hvdtrain.registry import RegisteredConfig


class Config(RegisteredConfig):
    """The bytes themselves: a vocabulary of 257."""

    name: Literal["bytes"] = "bytes"


class ByteTokenizer(Tokenizer):
    """Id n is the byte n."""

    name = "bytes"

    def __init__(self) -> None:
        super().__init__([bytes([value]) for value in range(256)])

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        return [self.encode(text) for text in texts]

    def _content(self) -> dict[str, Any]:
        return {}


def train(config: Config, texts: Iterator[str]) -> ByteTokenizer:
    """Return the tokenizer; there is nothing to learn from the texts."""
    return ByteTokenizer()


def load(path: Path) -> ByteTokenizer:
    """Return the tokenizer in a file; DataError where it is none."""
    read_file(path)
    return ByteTokenizer()
