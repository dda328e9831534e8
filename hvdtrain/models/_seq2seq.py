"""The encoder-decoder transformer itself, its initialisation, and its decoding token by token.

Shapes: B texts, S source tokens, T target tokens, C model width, H heads, D = C / H, V vocabulary, K hypotheses a text.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hvdtrain.models._spec import DataSpec
from hvdtrain.models._texts import valid_tokens
from hvdtrain.models._transformer import attention_in_float32
from hvdtrain.models.transformer import Config

KeysValues = tuple[Tensor, Tensor]
"""Keys and values of attention, (B, H, positions, D) each."""


@dataclass(frozen=True)
class Memory:
    """What the encoder made of the sources: `states` (B, S, C), and `valid` (B, 1, 1, S), False where there is only
    padding."""

    states: Tensor
    valid: Tensor


class Transformer(nn.Module):
    """Encoder and decoder over one vocabulary; parameters are float32 and autocast decides the type of the products.

    A text ends with the first `pad_id`, which is read like any token; what follows is padding, which nothing attends
    to. Target texts also begin with `pad_id`; there the causal order hides padding, so that it needs no mask.
    """

    positions: Tensor

    def __init__(self, config: Config, spec: DataSpec) -> None:
        super().__init__()
        self.config = config
        self.max_seq_len = spec.max_seq_len
        self.pad_id = spec.pad_id
        self.source_embedding = nn.Embedding(spec.vocab_size, config.d_model)
        own = not config.tie_embeddings
        self.target_embedding = nn.Embedding(spec.vocab_size, config.d_model) if own else None
        self.output = nn.Linear(config.d_model, spec.vocab_size, bias=False) if own else None
        self.dropout = nn.Dropout(config.dropout)
        self.encoder = nn.ModuleList(EncoderBlock(config) for _ in range(config.n_encoder_layers))
        self.encoder_norm = nn.LayerNorm(config.d_model)
        self.decoder = nn.ModuleList(DecoderBlock(config) for _ in range(config.n_decoder_layers))
        self.decoder_norm = nn.LayerNorm(config.d_model)
        self.register_buffer("positions", sinusoids(spec.max_seq_len, config.d_model), persistent=False)
        self._initialise()

    def forward(self, source: Tensor, inputs: Tensor) -> Tensor:
        """Return logits (B, T, V) for source ids (B, S) and the ids (B, T) that precede each target.

        Under bf16 autocast the logits are bf16: a loss converts them to float32 first.

        Raises:
            ValueError: a text has more than `max_seq_len` tokens.
        """
        return self.decode(inputs, self.encode(source))

    def encode(self, source: Tensor) -> Memory:
        """Read source ids (B, S)."""
        valid = valid_tokens(source, self.pad_id)[:, None, None]
        x = self._embed(source, self.source_embedding)
        for block in self.encoder:
            x = block(x, valid)
        return Memory(self.encoder_norm(x), valid)

    def decode(self, inputs: Tensor, memory: Memory) -> Tensor:
        """Return logits (B, T, V) for the ids (B, T) that precede each target."""
        x = self._embed(inputs, self.target_embedding or self.source_embedding)
        for block in self.decoder:
            x, _ = block(x, block.memory_attention.keys_values(memory.states), memory.valid)  # type: ignore[union-attr, operator]
        return self._logits(x)

    def start(self, source: Tensor, hypotheses: int) -> Decoding:
        """Return the beginning of `hypotheses` target texts for each of the source texts (B, S)."""
        return Decoding(self, self.encode(source), hypotheses)

    def _embed(self, ids: Tensor, embedding: nn.Embedding, at: int | None = None) -> Tensor:
        """Return (B, T, C): embeddings times sqrt(C), and positions 0 to T - 1, or the position `at` for all."""
        end = ids.shape[1] if at is None else at + 1
        if end > self.max_seq_len:
            raise ValueError(f"a text of {end} tokens or more, but the model sees at most {self.max_seq_len}")
        x = embedding(ids) * math.sqrt(self.config.d_model)
        return self.dropout(x + self.positions[0 if at is None else at : end])  # type: ignore[no-any-return]

    def _logits(self, x: Tensor) -> Tensor:
        weight = self.source_embedding.weight if self.output is None else self.output.weight
        return F.linear(self.decoder_norm(x), weight)

    @torch.no_grad()
    def _initialise(self) -> None:
        """Embeddings from N(0, 1 / C), so that logits begin with a variance of about one; matrix products by Glorot's
        rule, keys and values each as a product of its own; biases 0.
        """
        width = self.config.d_model
        for module in self.modules():
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=width**-0.5)
            elif isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for module in self.modules():
            if isinstance(module, Attention):
                for rows in torch.split(module.key_value.weight, width):
                    nn.init.xavier_uniform_(rows)


class Decoding:
    """Target texts that grow by a token at a time, K for each of B sources, with the keys and values of all so far.

    It belongs to the weights that it was started with, and is meant for evaluation mode without gradients.
    """

    def __init__(self, model: Transformer, memory: Memory, hypotheses: int) -> None:
        self._model = model
        self._valid = memory.valid
        self._hypotheses = hypotheses
        self._length = 0
        self._memory: list[KeysValues] = [
            block.memory_attention.keys_values(memory.states)  # type: ignore[union-attr, operator]
            for block in model.decoder
        ]
        self._past: list[KeysValues | None] = [None] * len(self._memory)

    def step(self, tokens: Tensor) -> Tensor:
        """Append a token (B, K) to each hypothesis, `pad_id` being the first; return logits (B, K, V) of the next one.

        Raises:
            ValueError: more than `max_seq_len` tokens.
        """
        model = self._model
        x = model._embed(tokens, model.target_embedding or model.source_embedding, at=self._length)
        for layer, block in enumerate(model.decoder):
            x, self._past[layer] = block(x, self._memory[layer], self._valid, self._past[layer], growing=True)
        self._length += 1
        return model._logits(x)

    def reorder(self, origins: Tensor) -> None:
        """Let hypothesis k of source b go on from what was hypothesis `origins[b, k]` of the same source, (B, K)."""
        if self._hypotheses > 1:
            first = torch.arange(len(origins), device=origins.device)[:, None] * self._hypotheses
            self._select_past((first + origins).flatten())

    def keep(self, sources: Tensor) -> None:
        """Go on with some sources only, by their numbers (B',)."""
        self._valid = self._valid[sources]
        self._memory = [(keys[sources], values[sources]) for keys, values in self._memory]
        each = torch.arange(self._hypotheses, device=sources.device)
        self._select_past((sources[:, None] * self._hypotheses + each).flatten())

    def _select_past(self, rows: Tensor) -> None:
        self._past = [None if past is None else (past[0][rows], past[1][rows]) for past in self._past]


class Attention(nn.Module):
    """Multi-head attention (Vaswani et al. 2017, section 3.2.2), without biases."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.n_heads = config.n_heads
        self.query = nn.Linear(config.d_model, config.d_model, bias=False)
        self.key_value = nn.Linear(config.d_model, 2 * config.d_model, bias=False)
        self.out = nn.Linear(config.d_model, config.d_model, bias=False)

    def keys_values(self, x: Tensor) -> KeysValues:
        """Return the keys and values of the positions of x (B, S, C)."""
        keys, values = self.key_value(x).chunk(2, dim=-1)
        return self._heads(keys), self._heads(values)

    def forward(
        self, x: Tensor, keys_values: KeysValues, valid: Tensor | None = None, *, causal: bool = False
    ) -> Tensor:
        """Return (B, T, C) for (B, T, C), which attends to what is `valid` (broadcast to (B, H, T, S)), or, if causal,
        to positions up to its own."""
        queries, (keys, values) = self._heads(self.query(x)), keys_values
        if attention_in_float32(keys):
            with torch.autocast("cpu", enabled=False):
                mixed = F.scaled_dot_product_attention(
                    queries.float(), keys.float(), values.float(), attn_mask=valid, is_causal=causal
                )
        else:
            mixed = F.scaled_dot_product_attention(queries, keys, values, attn_mask=valid, is_causal=causal)
        return self.out(mixed.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]

    def _heads(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.n_heads, x.shape[2] // self.n_heads).transpose(1, 2)


class EncoderBlock(nn.Module):
    """Pre-norm residual block: self-attention, then feed-forward."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.d_model)
        self.attention = Attention(config)
        self.feed_forward_norm = nn.LayerNorm(config.d_model)
        self.feed_forward = feed_forward(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """Return (B, S, C) for (B, S, C); `valid` (B, 1, 1, S)."""
        normed = self.attention_norm(x)
        x = x + self.dropout(self.attention(normed, self.attention.keys_values(normed), valid))
        return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))  # type: ignore[no-any-return]


class DecoderBlock(nn.Module):
    """Pre-norm residual block: causal self-attention, attention to the memory, then feed-forward."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.d_model)
        self.attention = Attention(config)
        self.memory_attention_norm = nn.LayerNorm(config.d_model)
        self.memory_attention = Attention(config)
        self.feed_forward_norm = nn.LayerNorm(config.d_model)
        self.feed_forward = feed_forward(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, x: Tensor, memory: KeysValues, valid: Tensor, past: KeysValues | None = None, *, growing: bool = False
    ) -> tuple[Tensor, KeysValues | None]:
        """Return x after this block, and the keys and values of all positions where texts are growing, else None.

        x is (B, T, C), the T positions of a text; or, of growing texts, (B, K, C): the newest position of each of K
        hypotheses, whose earlier ones `past` holds, (B K, H, positions, D).
        """
        normed = self.attention_norm(x)
        if growing:
            alone = normed.flatten(0, 1).unsqueeze(1)  # (B K, 1, C)
            past = _joined(past, self.attention.keys_values(alone))
            x = x + self.dropout(self.attention(alone, past)).view_as(x)
        else:
            x = x + self.dropout(self.attention(normed, self.attention.keys_values(normed), causal=True))
        x = x + self.dropout(self.memory_attention(self.memory_attention_norm(x), memory, valid))
        return x + self.dropout(self.feed_forward(self.feed_forward_norm(x))), past


def feed_forward(config: Config) -> nn.Sequential:
    """Return the position-wise network of two products with a ReLU between them (Vaswani et al. 2017, section 3.3)."""
    return nn.Sequential(
        nn.Linear(config.d_model, config.hidden_dim), nn.ReLU(), nn.Linear(config.hidden_dim, config.d_model)
    )


def sinusoids(length: int, width: int) -> Tensor:
    """Return (length, width): sin(p / 10000^(2i/width)) in column 2i and its cosine in 2i + 1 (section 3.5)."""
    rates = 10_000.0 ** -(torch.arange(0, width, 2, dtype=torch.float64) / width)
    angles = torch.outer(torch.arange(length, dtype=torch.float64), rates)
    return torch.stack((angles.sin(), angles.cos()), -1).flatten(1).float()


def _joined(past: KeysValues | None, new: KeysValues) -> KeysValues:
    if past is None:
        return new
    return torch.cat((past[0], new[0]), 2), torch.cat((past[1], new[1]), 2)
