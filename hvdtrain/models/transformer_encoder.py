"""Transformer encoder: a classifier of texts whose tokens all see each other; RMSNorm, rotary positions, SwiGLU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, PositiveInt

from hvdtrain.models._transformer_config import BlocksConfig, PositiveFinite

if TYPE_CHECKING:
    from hvdtrain.models._spec import DataSpec
    from hvdtrain.models._transformer_encoder import TransformerEncoder


class Config(BlocksConfig):
    """Shape of an encoder, of the blocks of a GPT (see `BlocksConfig`) without its order from left to right, and with
    the mean over all tokens as what is known of a text.

    `dropout` acts on the embedding, within the blocks and before the output; `token_dropout` leaves out whole tokens.
    """

    name: Literal["transformer_encoder"] = "transformer_encoder"
    d_model: int = Field(128, ge=1, le=2**17)
    n_layers: int = Field(2, ge=1, le=4096)
    n_heads: PositiveInt = Field(4, validate_default=True)
    dropout: float = Field(0.1, ge=0, lt=1)
    token_dropout: float = Field(0.0, ge=0, lt=1)
    init_std: PositiveFinite = 0.02


def build(config: Config, spec: DataSpec) -> TransformerEncoder:
    """Return a freshly initialised classifier; its weights depend on torch's global seed alone.

    Raises:
        RecipeError: the data are no texts.
    """
    from hvdtrain.models._transformer_encoder import TransformerEncoder

    spec.needs("transformer_encoder", "vocab_size")
    return TransformerEncoder(config, spec)
