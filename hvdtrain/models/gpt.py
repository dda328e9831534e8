"""GPT: a decoder-only transformer with RMSNorm, rotary positions, SwiGLU and grouped-query attention."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from hvdtrain.models._transformer_config import BlocksConfig, PositiveFinite

if TYPE_CHECKING:
    from hvdtrain.models._gpt import GPT
    from hvdtrain.models._spec import DataSpec


class Config(BlocksConfig):
    """Shape of a GPT; see `BlocksConfig` for that of its blocks. `init_std` is that of the first weights."""

    name: Literal["gpt"] = "gpt"
    tie_embeddings: bool = True
    init_std: PositiveFinite = 0.02


def build(config: Config, spec: DataSpec) -> GPT:
    """Return a freshly initialised GPT; its weights depend on torch's global seed alone.

    Raises:
        RecipeError: the data are no texts.
    """
    from hvdtrain.models._gpt import GPT

    spec.needs("gpt", "vocab_size")
    return GPT(config, spec)
