"""What a model has to know of its data before it can be built."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DataSpec:
    """Shapes of the data: `vocab_size` is the number of token ids, `max_seq_len` the tokens of a training sequence."""

    vocab_size: int
    max_seq_len: int
