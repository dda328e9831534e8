"""Encoders: how raw inputs become numbers, and outputs become words again, known without the data they came from.

A checkpoint holds its encoder as JSON beside the tokenizer, so that a trained model can be used anywhere.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from hvdtrain.data.tokenizers._tokenizer import Tokenizer
from hvdtrain.errors import CheckpointError


@dataclass(frozen=True)
class Encoder(ABC):
    """What is known of all samples.

    Attributes:
        class_names: names of the class ids; empty where targets are no classes.
        target_mean: of numeric targets; the model learns (target - mean) / std.
        target_std: see `target_mean`.
        tokenizer: of texts.
    """

    kind: ClassVar[str]
    class_names: tuple[str, ...] = ()
    target_mean: float = 0.0
    target_std: float = 1.0
    tokenizer: Tokenizer | None = field(default=None, compare=False)

    @abstractmethod
    def encode(self, raw: Sequence[Any]) -> dict[str, np.ndarray]:
        """Return the arrays of a batch of raw inputs, without targets."""

    def state(self) -> dict[str, Any]:
        """Return all but the tokenizer as JSON values."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "tokenizer"}
        return {"kind": self.kind} | {
            name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in values.items()
        }


@dataclass(frozen=True)
class CorpusEncoder(Encoder):
    """Running text, read `max_seq_len` tokens at a time. `vocab_size` is that of the tokens, with or without a
    tokenizer."""

    kind: ClassVar[str] = "corpus"
    vocab_size: int = 0
    max_seq_len: int = 0

    def encode(self, raw: Sequence[Any]) -> dict[str, np.ndarray]:
        raise NotImplementedError("running text is continued, not classified: see train.generation")


@dataclass(frozen=True)
class TextEncoder(Encoder):
    """Texts of at most `max_seq_len` tokens, the end of text among them, padded with its id."""

    kind: ClassVar[str] = "texts"
    max_seq_len: int = 0

    @property
    def pad_id(self) -> int:
        """The end of a text, of which padding is more."""
        return _of(self.tokenizer).eos_id

    def ids(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Return the token ids of each text, cut so that the end of text is the last: (tokens,) int64 each."""
        tokenizer = _of(self.tokenizer)
        encoded = tokenizer.encode_batch(list(texts))
        return [np.array([*row[: self.max_seq_len - 1], tokenizer.eos_id], dtype=np.int64) for row in encoded]

    def encode(self, raw: Sequence[Any]) -> dict[str, np.ndarray]:
        """Return `inputs` (N, T) int64, T being the length of the longest."""
        return {"inputs": padded(self.ids(raw), self.pad_id)}


@dataclass(frozen=True)
class PairEncoder(TextEncoder):
    """Pairs of a source text and its target text, one vocabulary for both; what is encoded here is the source."""

    kind: ClassVar[str] = "pairs"

    def encode(self, raw: Sequence[Any]) -> dict[str, np.ndarray]:
        """Return `source` (N, S) int64."""
        return {"source": padded(self.ids(raw), self.pad_id)}


@dataclass(frozen=True)
class TableEncoder(Encoder):
    """Rows of numbers, each column less its mean and over its standard deviation, both of the training part."""

    kind: ClassVar[str] = "table"
    feature_names: tuple[str, ...] = ()
    mean: np.ndarray = field(default_factory=lambda: np.zeros(0))
    std: np.ndarray = field(default_factory=lambda: np.ones(0))

    def encode(self, raw: Sequence[Any]) -> dict[str, np.ndarray]:
        """Return `inputs` (N, F) float32 for rows of F numbers."""
        return {"inputs": ((np.asarray(raw, dtype=np.float64) - self.mean) / self.std).astype(np.float32)}


@dataclass(frozen=True)
class ImageEncoder(Encoder):
    """Images of one `shape` (C, H, W), uint8, each channel less its mean and over its standard deviation."""

    kind: ClassVar[str] = "images"
    shape: tuple[int, int, int] = (1, 1, 1)
    mean: np.ndarray = field(default_factory=lambda: np.zeros(0))
    std: np.ndarray = field(default_factory=lambda: np.ones(0))

    def encode(self, raw: Sequence[Any]) -> dict[str, np.ndarray]:
        """Return `inputs` (N, C, H, W) float32 for images (C, H, W) uint8."""
        images = np.asarray(raw, dtype=np.float32) / np.float32(255)
        mean, std = (np.asarray(v, dtype=np.float32).reshape(-1, 1, 1) for v in (self.mean, self.std))
        return {"inputs": (images - mean) / std}


@dataclass(frozen=True)
class EnvironmentEncoder(Encoder):
    """Observations of a Gymnasium environment: `observation` numbers, `class_names` are the actions."""

    kind: ClassVar[str] = "environments"
    environment: str = ""
    observation: int = 0

    def encode(self, raw: Sequence[Any]) -> dict[str, np.ndarray]:
        """Return `inputs` (N, observation) float32."""
        return {"inputs": np.asarray(raw, dtype=np.float32)}


_KINDS: dict[str, type[Encoder]] = {
    kind.kind: kind
    for kind in (CorpusEncoder, TextEncoder, PairEncoder, TableEncoder, ImageEncoder, EnvironmentEncoder)
}


def from_state(state: Mapping[str, Any], tokenizer: Tokenizer | None) -> Encoder:
    """Return the encoder whose `state()` this was.

    Raises:
        CheckpointError: it is of a kind or has a field that this version does not know.
    """
    values = dict(state)
    kind = _KINDS.get(str(values.pop("kind", None)))
    if kind is None or not values.keys() <= kind.__dataclass_fields__.keys():
        raise CheckpointError(f"its encoder is of another version: {', '.join(map(str, state))}")
    for name, value in values.items():
        if isinstance(value, list):
            values[name] = np.array(value) if name in ("mean", "std") else tuple(value)
    return kind(**values, tokenizer=tokenizer)


def padded(rows: Sequence[np.ndarray], pad_id: int, length: int | None = None) -> np.ndarray:
    """Return rows of ids as one array (N, T) int64, filled up with `pad_id`; T is `length` or the longest row's."""
    longest = length if length is not None else max((len(row) for row in rows), default=0)
    whole = np.full((len(rows), longest), pad_id, dtype=np.int64)
    for place, row in enumerate(rows):
        whole[place, : len(row)] = row
    return whole


def _of(tokenizer: Tokenizer | None) -> Tokenizer:
    assert tokenizer is not None, "texts have a tokenizer"
    return tokenizer
