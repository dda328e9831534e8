"""Texts as rows of token ids of any length, in files that are mapped into memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hvdtrain.data.tokenise import token_type
from hvdtrain.data.tokenizers._tokenizer import Tokenizer

TEXTS_AT_ONCE = 4096
"""Texts that are encoded together: enough to keep all cores busy."""


@dataclass(frozen=True)
class TokenRows:
    """Row i is `ids[offsets[i] : offsets[i + 1]]`, a whole text without its end; `eos_id` is that end."""

    ids: np.ndarray
    offsets: np.ndarray
    eos_id: int

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def ended(self, row: int, length: int) -> np.ndarray:
        """Return the first `length - 1` tokens of a row, or all of them, and the end of text: (tokens,) int64."""
        begin = int(self.offsets[row])
        end = min(int(self.offsets[row + 1]), begin + length - 1)
        return np.append(self.ids[begin:end].astype(np.int64), self.eos_id)

    def ended_lengths(self, rows: np.ndarray, length: int) -> np.ndarray:
        """Return the number of tokens that `ended` gives for each row: (len(rows),) int64."""
        lengths: np.ndarray = np.minimum(self.whole_lengths(rows) + 1, length)
        return lengths

    def whole_lengths(self, rows: np.ndarray) -> np.ndarray:
        """Return the tokens of each row, the end of text not counted: (len(rows),) int64."""
        lengths: np.ndarray = self.offsets[rows + 1] - self.offsets[rows]
        return lengths


def write_rows(texts: Sequence[str], tokenizer: Tokenizer, folder: Path, name: str) -> None:
    """Write the tokens of texts as `name.bin`, and where each begins as `name.npy`."""
    lengths = np.zeros(len(texts) + 1, dtype=np.int64)
    with (folder / f"{name}.bin").open("wb") as file:
        for row, ids in enumerate(_encoded(texts, tokenizer)):
            file.write(np.array(ids, dtype=token_type(tokenizer.vocab_size)).tobytes())
            lengths[row + 1] = len(ids)
    np.save(folder / f"{name}.npy", np.cumsum(lengths))


def read_rows(tokenizer: Tokenizer, folder: Path, name: str) -> TokenRows:
    """Open what `write_rows` wrote."""
    offsets = np.load(folder / f"{name}.npy")
    dtype = token_type(tokenizer.vocab_size)
    if not offsets[-1]:  # an empty file can't be mapped
        return TokenRows(np.empty(0, dtype=dtype), offsets, tokenizer.eos_id)
    ids = np.memmap(folder / f"{name}.bin", dtype=dtype, mode="r")
    return TokenRows(np.asarray(ids), offsets, tokenizer.eos_id)  # the same memory without memmap's slow slicing


def _encoded(texts: Sequence[str], tokenizer: Tokenizer) -> Iterator[list[int]]:
    for begin in range(0, len(texts), TEXTS_AT_ONCE):
        yield from tokenizer.encode_batch(texts[begin : begin + TEXTS_AT_ONCE])
