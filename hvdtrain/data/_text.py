"""What every source of text configures: the length of its sequences, its validation share, and its partition."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from hvdtrain.data.partitions import random
from hvdtrain.registered import RegisteredAs
from hvdtrain.registry import RegisteredConfig


class TextConfig(RegisteredConfig):
    """A corpus of documents for language modelling.

    `max_seq_len` is the number of tokens that the model reads at once; `val_fraction` the share of the corpus's bytes
    that is kept for validation, whole documents at a time.
    """

    needs_tokenizer: ClassVar[bool] = True

    max_seq_len: int = Field(128, ge=1)
    val_fraction: float = Field(0.05, gt=0.0, le=0.5)
    partition: Annotated[RegisteredConfig, RegisteredAs("partitions")] = Field(default_factory=random.Config)
