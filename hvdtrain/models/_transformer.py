"""The parts of a transformer of one stack: rotary positions, attention with its cache, feed-forward, block.

Shapes: B sequences, T tokens, C model width, H query heads, K key and value heads, D = C / H the width of a head.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hvdtrain.models._transformer_config import BlocksConfig

_FLOAT32_ATTENTION_BELOW = 512
"""Number of keys; see `attention_in_float32`."""


class KVCache:
    """Keys and values of the tokens read so far, one pair of buffers (B, K, max_seq_len, D) a layer."""

    def __init__(self, n_layers: int, max_seq_len: int) -> None:
        self.length = 0
        self._max_seq_len = max_seq_len
        self._buffers: list[tuple[Tensor, Tensor] | None] = [None] * n_layers

    def append(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Store the new keys and values (B, K, T, D) of a layer; return those of all tokens so far, the new ones last.

        The buffers take batch size, device and type from the first call. `length` moves once all layers have stored.
        """
        end = self.length + keys.shape[2]
        buffers = self._buffers[layer]
        if buffers is None:
            shape = (*keys.shape[:2], self._max_seq_len, keys.shape[3])
            buffers = self._buffers[layer] = (keys.new_empty(shape), values.new_empty(shape))
        for buffer, new in zip(buffers, (keys, values), strict=True):
            buffer[:, :, self.length : end] = new
        if layer == len(self._buffers) - 1:
            self.length = end
        return buffers[0][:, :, :end], buffers[1][:, :, :end]


def rotary_table(max_seq_len: int, head_dim: int, base: float) -> tuple[Tensor, Tensor]:
    """Return the cosines and sines (max_seq_len, D / 2) of rotary positions (https://arxiv.org/abs/2104.09864, eq. 15).

    Pair i of a head turns by position * base^(-2i / D). The angles are computed in float64: in float32 those of
    positions in the thousands would be wrong in the fourth digit.
    """
    frequencies = base ** -(torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    angles = torch.outer(torch.arange(max_seq_len, dtype=torch.float64), frequencies)
    return angles.cos().float(), angles.sin().float()


def rotate(heads: Tensor, rotation: Tensor) -> Tensor:
    """Turn each pair of neighbouring channels of (B, T, heads, D) by the complex numbers (T, 1, D / 2).

    A complex product reads and writes memory once, which on a CPU makes a whole training step 3 % faster than turning
    the two halves of a head. It is done in float32 and rounded once to the type of `heads`.
    """
    pairs = torch.view_as_complex(heads.float().reshape(*heads.shape[:-1], heads.shape[-1] // 2, 2))
    return torch.view_as_real(pairs * rotation).flatten(-2).type_as(heads)


class Attention(nn.Module):
    """Self-attention in which groups of query heads share keys and values (https://arxiv.org/abs/2305.13245)."""

    def __init__(self, config: BlocksConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.heads = (config.n_heads, config.kv_heads)
        self.dropout = config.dropout
        self.qkv = nn.Linear(config.d_model, (config.n_heads + 2 * config.kv_heads) * config.head_dim, bias=False)
        self.out = nn.Linear(config.d_model, config.d_model, bias=False)

    def forward(self, x: Tensor, rotation: Tensor, cache: KVCache | None = None, valid: Tensor | None = None) -> Tensor:
        """Return (B, T, C) for (B, T, C); `rotation` holds the turns of these T positions.

        Tokens see those up to themselves; where `valid` (B, T) is given, all that it marks and no others.
        """
        n_heads, kv_heads = self.heads
        qkv = self.qkv(x).view(*x.shape[:2], n_heads + 2 * kv_heads, x.shape[2] // n_heads)
        # split, not slices: its backward pass is one concatenation instead of a zero-filled copy for each slice
        queries_keys, values = torch.split(qkv, [n_heads + kv_heads, kv_heads], dim=2)
        queries, keys = torch.split(rotate(queries_keys, rotation), [n_heads, kv_heads], dim=2)
        mixed = self._attend(queries.transpose(1, 2), keys.transpose(1, 2), values.transpose(1, 2), cache, valid)
        return self.out(mixed.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]

    def _attend(
        self, queries: Tensor, keys: Tensor, values: Tensor, cache: KVCache | None, valid: Tensor | None
    ) -> Tensor:
        """Return (B, H, T, D); queries see the cached tokens and, among the new ones, those up to themselves, or those
        that are valid."""
        past = cache.length if cache is not None else 0
        if cache is not None:
            keys, values = cache.append(self.layer, keys, values)
        new = queries.shape[2]
        # is_causal aligns the first query with the first key, which is wrong once there are cached keys
        mask = None if valid is None else valid[:, None, None]
        if past and new > 1:
            mask = torch.ones(new, past + new, dtype=torch.bool, device=queries.device).tril(diagonal=past)
        attend = partial(
            F.scaled_dot_product_attention,
            attn_mask=mask,
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=not past and valid is None,
            enable_gqa=self.heads[0] != self.heads[1],
        )
        if attention_in_float32(keys):
            with torch.autocast("cpu", enabled=False):
                return attend(queries.float(), keys.float(), values.float())
        return attend(queries, keys, values)


def attention_in_float32(keys: Tensor) -> bool:
    """Return whether CPU autocast does better without this attention: short keys (B, K, T, D) and a CPU without AMX.

    torch's bf16 kernel takes 1.66 times as long as the float32 one at T = 128, 0.95 at 512 and 0.84 at 1,024 (torch
    2.13, forward and backward, AVX512-BF16), which is a tenth of a whole training step at 128.
    """
    short = keys.is_cpu and keys.shape[2] < _FLOAT32_ATTENTION_BELOW
    return short and torch.is_autocast_enabled("cpu") and not torch.cpu._is_amx_tile_supported()


class FeedForward(nn.Module):
    """SwiGLU: down(silu(gate x) * up x), with one product for gate and up (https://arxiv.org/abs/2002.05202, eq. 6)."""

    def __init__(self, config: BlocksConfig) -> None:
        super().__init__()
        self.gate_up = nn.Linear(config.d_model, 2 * config.hidden_dim, bias=False)
        self.down = nn.Linear(config.hidden_dim, config.d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, T, C) for (B, T, C)."""
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        return self.down(F.silu(gate) * up)  # type: ignore[no-any-return]


class Block(nn.Module):
    """Pre-norm residual block: attention, then feed-forward. The residual stream keeps the type of the embedding."""

    def __init__(self, config: BlocksConfig, layer: int) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(config.d_model, eps=config.norm_eps)
        self.attention = Attention(config, layer)
        self.feed_forward_norm = nn.RMSNorm(config.d_model, eps=config.norm_eps)
        self.feed_forward = FeedForward(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, rotation: Tensor, cache: KVCache | None = None, valid: Tensor | None = None) -> Tensor:
        """Return (B, T, C) for (B, T, C); see `Attention` for what a token sees."""
        x = x + self.dropout(self.attention(self.attention_norm(x), rotation, cache, valid))
        return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))  # type: ignore[no-any-return]
