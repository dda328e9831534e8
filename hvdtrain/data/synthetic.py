"""Random tokens in the shape of a recipe's data: for measuring where its text is not at hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hvdtrain.data.prepare import PreparedData
from hvdtrain.data.sequences import SequenceDataset
from hvdtrain.data.tokenise import token_type

if TYPE_CHECKING:
    from hvdtrain.registry import RegisteredConfig

_SEQUENCES = 4096
_BYTES_VOCABULARY = 257


class _Vocabulary:
    """A tokenizer as far as building a model needs one: the number of token ids."""

    def __init__(self, vocab_size: int) -> None:
        self.vocab_size = vocab_size


def synthetic(data: RegisteredConfig, tokenizer: RegisteredConfig | None, seed: int) -> PreparedData:
    """Return uniformly random tokens with the sequence length and vocabulary that the configs ask for.

    They cost a step what real ones do; the losses of a run on them mean nothing.
    """
    vocab_size: int = getattr(tokenizer, "vocab_size", _BYTES_VOCABULARY)
    max_seq_len: int = data.max_seq_len  # type: ignore[attr-defined]
    count = _SEQUENCES * max_seq_len + 1
    tokens = np.random.default_rng(seed).integers(vocab_size, size=count, dtype=token_type(vocab_size))
    sequences = SequenceDataset(tokens, max_seq_len)
    return PreparedData(
        train=sequences,
        val=sequences,
        tokenizer=_Vocabulary(vocab_size),  # type: ignore[arg-type]
        token_bytes=np.ones(vocab_size, dtype=np.int32),
        unigram_loss=float(np.log(vocab_size)),
        fingerprint=f"synthetic-{seed}-{vocab_size}-{max_seq_len}",
        notes=("synthetic data: random tokens",),
    )
