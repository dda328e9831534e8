"""What training and text generation ask of a language model, whatever its architecture."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol

from torch import Tensor, nn


class Cache(Protocol):
    """What a model remembers of the tokens it has read, so that the next call continues after them."""

    @property
    def length(self) -> int:
        """Number of tokens read so far."""
        ...


class LanguageModel(nn.Module, ABC):
    """A causal model of token sequences: the logits at a position depend on the tokens up to it.

    Attributes:
        vocab_size: V, the number of token ids.
        max_seq_len: tokens that the model can see at once.
    """

    vocab_size: int
    max_seq_len: int

    @abstractmethod
    def forward(self, inputs: Tensor, cache: Cache | None = None) -> Tensor:
        """Return logits (B, T, V) for token ids (B, T), in the precision of the matrix products.

        With a cache from `new_cache()`, the inputs continue the tokens that it holds, and it grows by them.

        Raises:
            ValueError: more than `max_seq_len` tokens, those of the cache included.
        """

    @abstractmethod
    def new_cache(self) -> Cache:
        """Return an empty cache, for one sequence or one batch of sequences of equal length."""

    @abstractmethod
    def num_matmul_parameters(self) -> int:
        """Return the number of weights in matrix products: the output projection, tied or not, but no look-up."""

    @abstractmethod
    def flops_per_token(self, seq_len: int) -> float:
        """Return the FLOPs of a forward and backward pass for one token of a sequence of `seq_len` tokens."""

    def num_parameters(self) -> int:
        """Return the number of parameters; a tensor that is used twice counts once."""
        return sum(parameter.numel() for parameter in self.parameters())
