"""Token sequences of one length, cut from a memory-mapped stream of tokens."""

from __future__ import annotations

import math

import numpy as np
import torch

IGNORED = -100
"""The target of a position that has none."""


class SequenceDataset:
    """Windows of `max_seq_len` inputs and, one place on, as many targets; each token but the first is a target once.

    The last window may be shorter than the others: its inputs are padded with 0 and its targets with -100.
    """

    def __init__(self, tokens: np.ndarray, max_seq_len: int, document_ends: np.ndarray | None = None) -> None:
        """`tokens` is (n,) of an unsigned integer type, usually a `numpy.memmap`; `document_ends` (documents,) int64 is
        where each document's tokens end, None where that is not known.
        """
        self.max_seq_len = max_seq_len
        self._tokens = np.asarray(tokens)  # the same memory without memmap's slow slicing
        self.targets = max(0, len(self._tokens) - 1)
        self.labels: np.ndarray | None = None
        self._document_ends = document_ends

    @property
    def shards(self) -> np.ndarray | None:
        """The number of the document that each sequence's first token is from, (N,) int64; None where not known."""
        if self._document_ends is None:
            return None
        first_tokens = np.arange(len(self)) * self.max_seq_len
        documents: np.ndarray = np.searchsorted(self._document_ends, first_tokens, side="right")
        return documents

    def __len__(self) -> int:
        return math.ceil(self.targets / self.max_seq_len)

    def batch(self, indices: np.ndarray) -> dict[str, torch.Tensor]:
        """Return samples by their indices: `inputs` and `targets`, (len(indices), max_seq_len) int64 each.

        Raises:
            IndexError: an index is outside of `range(len(self))`.
        """
        inputs = np.zeros((len(indices), self.max_seq_len), dtype=np.int64)
        targets = np.full((len(indices), self.max_seq_len), IGNORED, dtype=np.int64)
        for row, index in enumerate(indices):
            if not 0 <= index < len(self):
                raise IndexError(f"no sample {index} in a data set of {len(self)}")
            begin = int(index) * self.max_seq_len
            window = self._tokens[begin : begin + self.max_seq_len + 1]
            inputs[row, : len(window) - 1] = window[:-1]
            targets[row, : len(window) - 1] = window[1:]
        return {"inputs": torch.from_numpy(inputs), "targets": torch.from_numpy(targets)}
