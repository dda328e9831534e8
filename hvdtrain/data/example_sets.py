"""Samples as data sets: rows of numbers, images, texts, and pairs of texts, made into batches when they are asked for.

A data set is one part of the data: it holds all samples, and the indices of its own among them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np
import torch

from hvdtrain.data.encoders import ImageEncoder, TableEncoder, padded
from hvdtrain.data.sequences import IGNORED
from hvdtrain.data.token_rows import TokenRows


class _ExampleSet(ABC):
    """The samples `rows` (n,) of all; `targets`, `labels` and `shards` of this part are picked from those of all."""

    def __init__(
        self,
        rows: np.ndarray,
        encoded_targets: np.ndarray | None = None,
        labels: np.ndarray | None = None,
        shards: np.ndarray | None = None,
    ) -> None:
        """All arrays but `rows` are (N,), one value a sample: `encoded_targets` is what batches hold."""
        self._rows = rows
        self._targets = None if encoded_targets is None else encoded_targets[rows]
        self.targets = len(rows)
        self.labels = None if labels is None else labels[rows]
        self.shards = None if shards is None else shards[rows]

    def __len__(self) -> int:
        return len(self._rows)

    def batch(self, indices: np.ndarray) -> dict[str, torch.Tensor]:
        """Return samples by their indices: what `_inputs` says, and `targets` (len(indices),) where there are any.

        Raises:
            IndexError: an index is outside of `range(len(self))`.
        """
        indices = np.asarray(indices, dtype=np.int64)
        outside = indices[(indices < 0) | (indices >= len(self))]
        if len(outside):
            raise IndexError(f"no sample {outside[0]} in a data set of {len(self)}")
        arrays = dict(self._inputs(self._rows[indices]))
        if self._targets is not None:
            arrays["targets"] = self._targets[indices]
        return {name: torch.from_numpy(array) for name, array in arrays.items()}

    @abstractmethod
    def _inputs(self, rows: np.ndarray) -> Mapping[str, np.ndarray]:
        """Return the arrays of a batch, by indices among all samples."""


class ArrayDataset(_ExampleSet):
    """Rows (N, F), or images (N, C, H, W) uint8, both of which may be memory-mapped or read when they are asked for:
    `inputs` (B, F) or (B, C, H, W) float32, standardised."""

    def __init__(
        self,
        raw: np.ndarray,
        encoder: TableEncoder | ImageEncoder,
        rows: np.ndarray,
        encoded_targets: np.ndarray | None = None,
        labels: np.ndarray | None = None,
        shards: np.ndarray | None = None,
    ) -> None:
        """`raw` has `shape` and `[indices]`, and need be no array; see `Examples.inputs`."""
        super().__init__(rows, encoded_targets, labels, shards)
        self._raw = np.asarray(raw) if isinstance(raw, np.memmap) else raw  # memmap's own indexing is slow
        self._encoder = encoder

    def _inputs(self, rows: np.ndarray) -> Mapping[str, np.ndarray]:
        raw = self._raw[rows] if len(rows) else np.empty((0, *self._raw.shape[1:]), dtype=np.uint8)
        return self._encoder.encode(raw)  # type: ignore[arg-type]  # an array of samples is as good as a list


class TextDataset(_ExampleSet):
    """Texts: `inputs` (B, T) int64, each text ending with the end of text, T being the longest of the batch; what is
    shorter is filled up with the end of text."""

    def __init__(
        self,
        texts: TokenRows,
        max_seq_len: int,
        rows: np.ndarray,
        encoded_targets: np.ndarray | None = None,
        labels: np.ndarray | None = None,
        shards: np.ndarray | None = None,
    ) -> None:
        super().__init__(rows, encoded_targets, labels, shards)
        self._texts, self._max_seq_len = texts, max_seq_len

    def _inputs(self, rows: np.ndarray) -> Mapping[str, np.ndarray]:
        return {"inputs": _filled(_ended(self._texts, rows, self._max_seq_len), self._texts.eos_id)}


class PairDataset(_ExampleSet):
    """Pairs of texts: `source` (B, S) as of `TextDataset`; `targets` (B, T), the target text with the end of text,
    filled up with -100; and `inputs` (B, T), what precedes each target: the end of text, as a beginning, and the target
    text, filled up with the end of text. `targets` of the data set counts target tokens, ends included.
    """

    def __init__(
        self,
        sources: TokenRows,
        target_texts: TokenRows,
        max_seq_len: int,
        rows: np.ndarray,
        shards: np.ndarray | None = None,
    ) -> None:
        super().__init__(rows, shards=shards)
        self._sources, self._target_texts, self._max_seq_len = sources, target_texts, max_seq_len
        self.targets = int(target_texts.ended_lengths(rows, max_seq_len).sum())

    def _inputs(self, rows: np.ndarray) -> Mapping[str, np.ndarray]:
        eos = self._target_texts.eos_id
        targets = _ended(self._target_texts, rows, self._max_seq_len)
        return {
            "source": _filled(_ended(self._sources, rows, self._max_seq_len), eos),
            "inputs": _filled([np.concatenate(([eos], ids[:-1])) for ids in targets], eos),
            "targets": _filled(targets, IGNORED),
        }


def _ended(texts: TokenRows, rows: np.ndarray, length: int) -> list[np.ndarray]:
    return [texts.ended(row, length) for row in rows.tolist()]


def _filled(rows: list[np.ndarray], value: int) -> np.ndarray:
    """Pad rows to the longest; a batch without any is (0, 1), as every text has its end."""
    return padded(rows, value) if rows else np.empty((0, 1), dtype=np.int64)
