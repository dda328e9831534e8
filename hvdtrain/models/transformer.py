"""Transformer: an encoder that reads a source text and a decoder that writes its target text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, PositiveInt, ValidationInfo, field_validator

from hvdtrain.errors import RecipeError
from hvdtrain.registry import RegisteredConfig

if TYPE_CHECKING:
    from hvdtrain.models._seq2seq import Transformer
    from hvdtrain.models._spec import DataSpec


class Config(RegisteredConfig):
    """Shape of an encoder-decoder transformer (Vaswani et al. 2017, https://arxiv.org/abs/1706.03762), with the norms
    before attention and feed-forward rather than after (Xiong et al. 2020, https://arxiv.org/abs/2002.04745).

    `ffn_dim` is the inner width of the feed-forward networks (None: 4 `d_model`). With `tie_embeddings` one matrix is
    the embedding of source and target and the output projection (section 3.4); without it each has its own.
    `dropout` is that of section 5.4: on what each sub-layer adds, and on the embeddings.
    """

    name: Literal["transformer"] = "transformer"
    d_model: int = Field(256, ge=2, le=2**17, multiple_of=2)
    n_encoder_layers: int = Field(3, ge=1, le=4096)
    n_decoder_layers: int = Field(3, ge=1, le=4096)
    n_heads: PositiveInt = Field(4, validate_default=True)
    ffn_dim: int | None = Field(None, ge=1, le=2**20)
    dropout: float = Field(0.1, ge=0, lt=1)
    tie_embeddings: bool = True

    @field_validator("n_heads")
    @classmethod
    def _heads_divide_width(cls, n_heads: int, info: ValidationInfo) -> int:
        d_model = info.data.get("d_model")
        if d_model is not None and d_model % n_heads:
            divisors = [d for d in range(1, d_model + 1) if d_model % d == 0]
            nearest = min(divisors, key=lambda divisor: abs(divisor - n_heads))
            raise ValueError(f"must divide d_model {d_model} (nearest that does: {nearest})")
        return n_heads

    @property
    def hidden_dim(self) -> int:
        """Inner width of the feed-forward networks, `ffn_dim` resolved."""
        return self.ffn_dim or 4 * self.d_model


def build(config: Config, spec: DataSpec) -> Transformer:
    """Return a freshly initialised transformer; its weights depend on torch's global seed alone.

    Raises:
        RecipeError: the data are no texts, or the task wants something else than a text for each.
    """
    from hvdtrain.models._seq2seq import Transformer

    spec.needs("transformer", "vocab_size")
    if spec.outputs:
        raise RecipeError(
            f"model.name = transformer: writes a text for each text, and the task of this recipe wants {spec.outputs} "
            "outputs; take model: {name: transformer_encoder}"
        )
    return Transformer(config, spec)
