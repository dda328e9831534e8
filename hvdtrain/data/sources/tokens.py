"""The user's own token files: running text that is tokenised already, mapped into memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from hvdtrain.data.partitions import random
from hvdtrain.registered import RegisteredAs
from hvdtrain.registry import RegisteredConfig

if TYPE_CHECKING:
    from hvdtrain.data.formats.token_files import TokenFiles


class Config(RegisteredConfig):
    """Files of token ids below `vocab_size`: raw integers of `dtype`, little-endian, or NumPy's .npy, with its own.

    Without `val`, the last `val_fraction` of `train` is for validation. `max_seq_len` is the number of tokens that the
    model reads at once. There is no tokenizer: a model trained on ids can't read or write text.
    """

    name: Literal["tokens"] = "tokens"
    train: str = Field(min_length=1)
    val: str | None = Field(None, min_length=1)
    dtype: Literal["uint8", "uint16", "uint32", "int32", "int64"] = "uint16"
    vocab_size: int = Field(ge=2)
    max_seq_len: int = Field(128, ge=1)
    val_fraction: float = Field(0.05, gt=0.0, le=0.5)
    partition: Annotated[RegisteredConfig, RegisteredAs("partitions")] = Field(default_factory=random.Config)


def sequences(config: Config) -> TokenFiles:
    """Return the ids of both parts; DataError where a file can't be used or an id is not below `vocab_size`."""
    from hvdtrain.data.formats.token_files import open_tokens

    return open_tokens(config.train, config.val, config.dtype, config.vocab_size, config.val_fraction)
