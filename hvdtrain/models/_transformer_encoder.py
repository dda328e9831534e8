"""The transformer encoder itself: embedding, blocks, mean over the tokens, output, and what it costs.

Shapes: B texts, T tokens, C model width, L layers.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from hvdtrain.models._spec import DataSpec
from hvdtrain.models._texts import TokenDropout, masked_mean, valid_tokens
from hvdtrain.models._transformer import Block, rotary_table
from hvdtrain.models.transformer_encoder import Config


class TransformerEncoder(nn.Module):
    """A classifier; parameters are float32 and autocast decides the type of the matrix products."""

    cos: Tensor
    sin: Tensor

    def __init__(self, config: Config, spec: DataSpec) -> None:
        super().__init__()
        self.config = config
        self.max_seq_len = spec.max_seq_len
        self.pad_id = spec.pad_id
        self.embedding = nn.Embedding(spec.vocab_size, config.d_model)
        self.token_dropout = TokenDropout(config.token_dropout)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.n_layers))
        self.norm = nn.RMSNorm(config.d_model, eps=config.norm_eps)
        self.output = nn.Linear(config.d_model, spec.outputs)
        cos, sin = rotary_table(spec.max_seq_len, config.head_dim, config.rope_base)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        self._initialise()

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (B, outputs) for token ids (B, T).

        Raises:
            ValueError: more than `max_seq_len` tokens.
        """
        length = inputs.shape[1]
        if length > self.max_seq_len:
            raise ValueError(f"{length} tokens, but the model sees at most {self.max_seq_len}")
        valid = valid_tokens(inputs, self.pad_id)
        # complex numbers exist in float32 only, whatever the model was converted to
        rotation = torch.complex(self.cos[:length].float(), self.sin[:length].float()).unsqueeze(1)
        x = self.dropout(self.token_dropout(self.embedding(inputs)))
        for block in self.blocks:
            x = block(x, rotation, valid=valid)
        return self.output(self.dropout(masked_mean(self.norm(x), valid)))  # type: ignore[no-any-return]

    def flops_per_token(self, seq_len: int) -> float:
        """Return the FLOPs of a forward and backward pass for a target, which is a text of `seq_len` tokens.

        For each token 6 N + 12 L C T as for a GPT (https://arxiv.org/abs/2204.02311, appendix B), N being the weights
        of the blocks, and for each text those of the output.
        """
        weights = sum(m.weight.numel() for m in self.blocks.modules() if isinstance(m, nn.Linear))
        attention = 12.0 * self.config.n_layers * self.config.d_model * seq_len
        return seq_len * (6.0 * weights + attention) + 6.0 * self.output.weight.numel()

    def _initialise(self) -> None:
        """Draw weights from N(0, init_std); the two projections into the residual stream get 1 / sqrt(2 L) of it.

        L blocks add 2 L terms to the stream, whose variance so stays that of one (GPT-2, section 2.3).
        """
        config = self.config
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, std=config.init_std)
        nn.init.zeros_(self.output.bias)
        for block in self.blocks:
            for projection in (block.attention.out, block.feed_forward.down):  # type: ignore[union-attr]
                nn.init.normal_(projection.weight, std=config.init_std / math.sqrt(2 * config.n_layers))  # type: ignore[union-attr, arg-type]
