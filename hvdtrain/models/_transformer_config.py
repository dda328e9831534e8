"""What the transformers of `_transformer.py` configure, whether they write text or classify it."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import Field, PositiveInt, ValidationInfo, field_validator

from hvdtrain.registry import RegisteredConfig

PositiveFinite = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class BlocksConfig(RegisteredConfig):
    """Shape of the blocks.

    `n_kv_heads` key and value heads are shared by the `n_heads` query heads in equal groups (None: one each);
    `ffn_dim` is the inner width of the SwiGLU (None: 8/3 of `d_model`, rounded up to a multiple of 64, which gives the
    weights of a plain feed-forward network of 4 `d_model`).
    """

    d_model: int = Field(256, ge=1, le=2**17)
    n_layers: int = Field(6, ge=1, le=4096)
    n_heads: PositiveInt = Field(4, validate_default=True)
    n_kv_heads: PositiveInt | None = None
    ffn_dim: int | None = Field(None, ge=1, le=2**20)
    norm_eps: PositiveFinite = 1e-5
    rope_base: PositiveFinite = 10_000.0
    dropout: float = Field(0.0, ge=0, lt=1)

    @field_validator("n_heads")
    @classmethod
    def _heads_divide_width(cls, n_heads: int, info: ValidationInfo) -> int:
        d_model = info.data.get("d_model")
        if d_model is None:
            return n_heads
        if d_model % n_heads:
            raise ValueError(f"must divide d_model {d_model} (nearest that do: {_nearest_divisors(d_model, n_heads)})")
        if d_model // n_heads % 2:
            raise ValueError(
                f"makes heads of width {d_model // n_heads} (d_model {d_model} / n_heads {n_heads}): "
                "rotary positions turn pairs, so the width of a head must be even"
            )
        return n_heads

    @field_validator("n_kv_heads")
    @classmethod
    def _kv_heads_divide_heads(cls, n_kv_heads: int | None, info: ValidationInfo) -> int | None:
        n_heads = info.data.get("n_heads")
        if n_heads is not None and n_kv_heads is not None and n_heads % n_kv_heads:
            raise ValueError(
                f"must divide n_heads {n_heads} (nearest that do: {_nearest_divisors(n_heads, n_kv_heads)})"
            )
        return n_kv_heads

    @property
    def head_dim(self) -> int:
        """Width of one head."""
        return self.d_model // self.n_heads

    @property
    def kv_heads(self) -> int:
        """Number of key and value heads, `n_kv_heads` resolved."""
        return self.n_kv_heads or self.n_heads

    @property
    def hidden_dim(self) -> int:
        """Inner width of the feed-forward network, `ffn_dim` resolved."""
        return self.ffn_dim or 64 * math.ceil(self.d_model * 8 / 3 / 64)


def _nearest_divisors(whole: int, wanted: int) -> str:
    below = next(d for d in range(min(wanted, whole), 0, -1) if whole % d == 0)
    above = next((d for d in range(wanted, whole + 1) if whole % d == 0), None)
    return f"{below} and {above}" if above is not None else str(below)
