"""The one-dimensional CNN itself.

Shapes: B texts, T tokens, C channels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hvdtrain.models._norm_config import GROUP_WIDTH
from hvdtrain.models._spec import DataSpec
from hvdtrain.models._texts import TokenDropout, masked_max, valid_tokens
from hvdtrain.models.cnn1d import Config


class CNN1D(nn.Module):
    """Embedding, convolutions, pooling, output. Padding is read as the zeros that convolutions see beyond the end."""

    def __init__(self, config: Config, spec: DataSpec) -> None:
        super().__init__()
        self.config = config
        self.max_seq_len = spec.max_seq_len
        self.pad_id = spec.pad_id
        self.embedding = nn.Embedding(spec.vocab_size, config.d_model)
        nn.init.normal_(self.embedding.weight, std=config.embedding_std)
        self.token_dropout = TokenDropout(config.token_dropout)
        self.dropout = nn.Dropout(config.dropout)
        widths = [config.d_model, *[config.channels] * (config.n_layers - 1)]
        self.layers = nn.ModuleList(ConvNorm(width, config) for width in widths)
        places = spec.max_seq_len if config.pooling == "flatten" else 1
        self.output = nn.Linear(places * config.channels, spec.outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (B, outputs) for token ids (B, T).

        Raises:
            ValueError: more than `max_seq_len` tokens.
        """
        length = inputs.shape[1]
        if length > self.max_seq_len:
            raise ValueError(f"{length} tokens, but the model sees at most {self.max_seq_len}")
        valid = valid_tokens(inputs, self.pad_id)
        x = self.dropout(self.token_dropout(self.embedding(inputs))) * valid[..., None]
        for layer in self.layers:
            x = layer(x, valid)
        if self.config.pooling == "max":
            pooled = masked_max(x, valid)
        else:
            pooled = F.pad(x, (0, 0, 0, self.max_seq_len - length)).flatten(1)
        return self.output(self.dropout(pooled))  # type: ignore[no-any-return]


class ConvNorm(nn.Module):
    """Convolution, norm over what is no padding, ReLU."""

    def __init__(self, inputs: int, config: Config) -> None:
        super().__init__()
        self.conv = nn.Conv1d(inputs, config.channels, config.kernel_size, padding=config.kernel_size // 2, bias=False)
        nn.init.kaiming_normal_(self.conv.weight, nonlinearity="relu")
        groups = config.channels // GROUP_WIDTH
        batch = config.norm == "batch"
        self.norm = nn.BatchNorm1d(config.channels) if batch else nn.GroupNorm(groups, config.channels)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """Return (B, T, C), 0 for padding, for (B, T, inputs)."""
        convolved = self.conv(x.transpose(1, 2)).transpose(1, 2)
        # Tokens become the samples of the norm: padding is in none of its statistics, however much of it there is.
        normed = F.relu(self.norm(convolved[valid]))
        return torch.zeros_like(convolved, dtype=normed.dtype).index_put((valid,), normed)
