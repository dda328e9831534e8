"""What the recurrent language models configure, whichever cell they have."""

from __future__ import annotations

from pydantic import Field

from hvdtrain.registry import RegisteredConfig


class RecurrentConfig(RegisteredConfig):
    """Shape of a recurrent language model.

    `d_model` is the width of the embedding, `hidden_dim` that of the recurrent layers (None: the same). With
    `tie_embeddings` the embedding is also the output projection (Press and Wolf 2017,
    https://arxiv.org/abs/1608.05859); where the widths differ, a matrix brings the hidden state to that of the
    embedding first. `dropout` acts between layers and never from one time to the next (Zaremba et al. 2014,
    https://arxiv.org/abs/1409.2329).
    """

    d_model: int = Field(256, ge=1, le=2**17)
    hidden_dim: int | None = Field(None, ge=1, le=2**17)
    n_layers: int = Field(2, ge=1, le=4096)
    dropout: float = Field(0.0, ge=0, lt=1)
    tie_embeddings: bool = True

    @property
    def width(self) -> int:
        """Width of the recurrent layers, `hidden_dim` resolved."""
        return self.hidden_dim or self.d_model
