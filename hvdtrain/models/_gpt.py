"""The GPT itself: embedding, blocks, output projection, initialisation, and what it costs."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hvdtrain.models._language_model import Cache, LanguageModel
from hvdtrain.models._spec import DataSpec
from hvdtrain.models._transformer import Block, KVCache, rotary_table
from hvdtrain.models.gpt import Config


class GPT(LanguageModel):
    """Decoder-only transformer; parameters are float32 and autocast decides the type of the matrix products."""

    cos: Tensor
    sin: Tensor

    def __init__(self, config: Config, spec: DataSpec) -> None:
        super().__init__()
        self.config = config
        self.vocab_size = spec.vocab_size
        self.max_seq_len = spec.max_seq_len
        self.embedding = nn.Embedding(spec.vocab_size, config.d_model)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.n_layers))
        self.norm = nn.RMSNorm(config.d_model, eps=config.norm_eps)
        self.output = None if config.tie_embeddings else nn.Linear(config.d_model, spec.vocab_size, bias=False)
        cos, sin = rotary_table(spec.max_seq_len, config.head_dim, config.rope_base)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        self._initialise()

    def forward(self, inputs: Tensor, cache: Cache | None = None) -> Tensor:
        """Return logits (B, T, V) for token ids (B, T); see `LanguageModel.forward`.

        Under bf16 autocast the logits are bf16: a loss converts them to float32 first.
        """
        if cache is not None and not isinstance(cache, KVCache):
            raise TypeError(f"a GPT continues only a cache of its own new_cache(), not a {type(cache).__name__}")
        start = cache.length if cache is not None else 0
        end = start + inputs.shape[1]
        if end > self.max_seq_len:
            raise ValueError(f"{end} tokens, {start} of them cached, but the model sees at most {self.max_seq_len}")
        # complex numbers exist in float32 only, whatever the model was converted to
        rotation = torch.complex(self.cos[start:end].float(), self.sin[start:end].float()).unsqueeze(1)
        x = self.dropout(self.embedding(inputs))
        for block in self.blocks:
            x = block(x, rotation, cache)
        return F.linear(self.norm(x), self._output_weight())

    def new_cache(self) -> KVCache:
        """Return an empty KV cache."""
        return KVCache(self.config.n_layers, self.max_seq_len)

    def num_matmul_parameters(self) -> int:
        """Return the number of weights in matrix products: all but norms and the look-up of embeddings."""
        linear = sum(m.weight.numel() for m in self.blocks.modules() if isinstance(m, nn.Linear))
        return linear + self._output_weight().numel()

    def flops_per_token(self, seq_len: int) -> float:
        """Return 6 N + 12 L H Q T (https://arxiv.org/abs/2204.02311, appendix B).

        N weights multiply and add once forward and twice backward; the scores and the mix of values of T tokens do so
        for H heads of width Q in L layers. Attention counts as if it were not causal.
        """
        return 6.0 * self.num_matmul_parameters() + 12.0 * self.config.n_layers * self.config.d_model * seq_len

    def _output_weight(self) -> Tensor:
        return self.embedding.weight if self.output is None else self.output.weight

    def _initialise(self) -> None:
        """Draw weights from N(0, init_std); the two projections into the residual stream get 1 / sqrt(2 L) of it.

        L blocks add 2 L terms to the stream, whose variance so stays that of one (GPT-2, section 2.3).
        """
        config = self.config
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, std=config.init_std)
        for block in self.blocks:
            for projection in (block.attention.out, block.feed_forward.down):  # type: ignore[union-attr]
                nn.init.normal_(projection.weight, std=config.init_std / math.sqrt(2 * config.n_layers))  # type: ignore[union-attr, arg-type]
