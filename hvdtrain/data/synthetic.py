"""Data that costs a step nothing to get: for measuring where the real data is not at hand, or slow."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hvdtrain.data.encoders import CorpusEncoder
from hvdtrain.data.prepare import UNIGRAM, prepare
from hvdtrain.data.prepared import Dataset, PreparedData
from hvdtrain.data.sequences import SequenceDataset
from hvdtrain.data.tokenise import token_type

if TYPE_CHECKING:
    import torch

    from hvdtrain.registry import RegisteredConfig

_SEQUENCES = 4096
_BYTES_VOCABULARY = 257


def synthetic(
    data: RegisteredConfig, tokenizer: RegisteredConfig | None, seed: int, form: str = "corpus"
) -> PreparedData:
    """Return data in the shape that the configs ask for; the losses of a run on it mean nothing.

    Of a corpus it is uniformly random tokens, and the text itself need not be there. Of examples it is one batch of the
    real ones, again and again, made once. Environments are themselves.
    """
    if form == "corpus":
        return _random_tokens(data, tokenizer, seed)
    real = prepare(data, tokenizer, seed, form)
    if form == "environments":
        return real
    return PreparedData(
        train=_Repeated(real.train),
        val=real.val,
        encoder=real.encoder,
        fingerprint=f"repeated-{real.fingerprint}",
        notes=("synthetic data: one batch of the real data, repeated",),
    )


class _Repeated:
    """A data set that makes each size of batch once."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._made: dict[int, dict[str, torch.Tensor]] = {}
        self.targets, self.labels, self.shards = dataset.targets, dataset.labels, dataset.shards

    def __len__(self) -> int:
        return len(self._dataset)

    def batch(self, indices: np.ndarray) -> dict[str, torch.Tensor]:
        count = len(indices)
        if count not in self._made:
            self._made[count] = self._dataset.batch(np.arange(count) % len(self._dataset))
        return dict(self._made[count])


def _random_tokens(data: RegisteredConfig, tokenizer: RegisteredConfig | None, seed: int) -> PreparedData:
    vocab_size: int = getattr(tokenizer, "vocab_size", getattr(data, "vocab_size", _BYTES_VOCABULARY))
    max_seq_len: int = data.max_seq_len  # type: ignore[attr-defined]
    count = _SEQUENCES * max_seq_len + 1
    tokens = np.random.default_rng(seed).integers(vocab_size, size=count, dtype=token_type(vocab_size))
    sequences = SequenceDataset(tokens, max_seq_len)
    return PreparedData(
        train=sequences,
        val=sequences,
        encoder=CorpusEncoder(vocab_size=vocab_size, max_seq_len=max_seq_len),
        references={"loss": {UNIGRAM: float(np.log(vocab_size))}},
        fingerprint=f"synthetic-{seed}-{vocab_size}-{max_seq_len}",
        notes=("synthetic data: random tokens",),
    )
