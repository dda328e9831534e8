"""Recurrent layers, and the language model of them: embedding, layers, output projection, and what it costs.

Shapes: B sequences, T tokens, C width of the embedding, H width of the layers, L layers, V vocabulary.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hvdtrain.models._language_model import Cache, LanguageModel
from hvdtrain.models._recurrent_config import RecurrentConfig
from hvdtrain.models._spec import DataSpec

Kind = Literal["rnn", "lstm"]
State = Tensor | tuple[Tensor, Tensor]
"""Of an RNN the hidden state (L, B, H), of an LSTM the hidden state and the cell."""


class StateCache:
    """The state after the tokens read so far: of constant size, however many they are."""

    def __init__(self) -> None:
        self.length = 0
        self.state: State | None = None


class _LSTM(nn.LSTM):
    """An LSTM without oneDNN in bf16 where the processor has no AVX-512: oneDNN has none there, and PyTorch asks it for
    one wherever no gradient is wanted ("could not create a primitive descriptor").
    """

    def forward(self, input: Any, hx: Any = None) -> Any:  # noqa: A002 (its name in PyTorch)
        reduced = torch.is_autocast_enabled("cpu") or input.dtype == torch.bfloat16
        if not reduced or input.device.type != "cpu" or "AVX512" in torch.backends.cpu.get_cpu_capability():
            return super().forward(input, hx)
        used = torch.backends.mkldnn.enabled
        torch.backends.mkldnn.enabled = False  # type: ignore[assignment]
        try:
            return super().forward(input, hx)
        finally:
            torch.backends.mkldnn.enabled = used


def make_layers(kind: Kind, inputs: int, width: int, n_layers: int = 1, dropout: float = 0.0) -> nn.RNN | nn.LSTM:
    """Return initialised recurrent layers, (B, T, inputs) -> (B, T, H), with dropout between them.

    What is read is weighed by Glorot's rule, the state by orthogonal matrices, one a gate, which keep its length
    (https://arxiv.org/abs/1504.00941 argues for such a start). Biases are 0, but 1 at an LSTM's forget gate, so that
    it remembers at first (Jozefowicz et al. 2015, http://proceedings.mlr.press/v37/jozefowicz15.html, section 3).
    """
    # torch warns of dropout that is between no layers
    between = dropout if n_layers > 1 else 0.0
    layers: nn.RNN | nn.LSTM = {"rnn": nn.RNN, "lstm": _LSTM}[kind](
        inputs, width, n_layers, batch_first=True, dropout=between
    )
    for name, parameter in layers.named_parameters():
        gates = torch.split(parameter.detach(), width)
        if name.startswith("weight"):
            draw = nn.init.xavier_uniform_ if name.startswith("weight_ih") else nn.init.orthogonal_
            for gate in gates:
                draw(gate)
        else:
            nn.init.zeros_(parameter)
            if kind == "lstm" and name.startswith("bias_ih"):
                nn.init.ones_(gates[1])  # torch's order: input, forget, candidate, output
    return layers


def matmul_parameters(layers: nn.RNN | nn.LSTM) -> int:
    """Return the number of weights of recurrent layers that take part in matrix products: all but the biases."""
    return sum(p.numel() for p in layers.parameters() if p.ndim == 2)


class RecurrentLanguageModel(LanguageModel):
    """A language model whose only memory is its state, which begins at zero.

    Trained on sequences of `max_seq_len` tokens, it is asked for no more at once, as any model of text here.
    """

    def __init__(self, kind: Kind, config: RecurrentConfig, spec: DataSpec) -> None:
        super().__init__()
        self.config = config
        self.vocab_size = spec.vocab_size
        self.max_seq_len = spec.max_seq_len
        width = config.width
        self.embedding = nn.Embedding(spec.vocab_size, config.d_model)
        self.dropout = nn.Dropout(config.dropout)
        self.layers = make_layers(kind, config.d_model, width, config.n_layers, config.dropout)
        projected = config.tie_embeddings and width != config.d_model
        self.projection = nn.Linear(width, config.d_model, bias=False) if projected else None
        self.output = None if config.tie_embeddings else nn.Linear(width, spec.vocab_size, bias=False)
        self.output_bias = nn.Parameter(torch.zeros(spec.vocab_size))
        self._initialise()

    def forward(self, inputs: Tensor, cache: Cache | None = None) -> Tensor:
        """Return logits (B, T, V) for token ids (B, T); see `LanguageModel.forward`.

        Under bf16 autocast the logits are bf16: a loss converts them to float32 first.
        """
        if cache is not None and not isinstance(cache, StateCache):
            raise TypeError(f"a recurrent model continues only a cache of its own, not a {type(cache).__name__}")
        start = cache.length if cache is not None else 0
        end = start + inputs.shape[1]
        if end > self.max_seq_len:
            raise ValueError(f"{end} tokens, {start} of them cached, but the model sees at most {self.max_seq_len}")
        x = self.dropout(self.embedding(inputs) * math.sqrt(self.config.d_model))
        states, state = self.layers(x, None if cache is None else cache.state)
        if cache is not None:
            cache.length, cache.state = end, state
        states = self.dropout(states)
        if self.projection is not None:
            states = self.projection(states)
        return F.linear(states, self._output_weight(), self.output_bias)

    def new_cache(self) -> StateCache:
        """Return the state before the first token."""
        return StateCache()

    def num_matmul_parameters(self) -> int:
        """Return the number of weights in matrix products: all but biases and the look-up of embeddings."""
        projection = 0 if self.projection is None else self.projection.weight.numel()
        return matmul_parameters(self.layers) + projection + self._output_weight().numel()

    def flops_per_token(self, seq_len: int) -> float:
        """Return 6 N: N weights multiply and add once forward and twice backward, whatever the sequence's length."""
        return 6.0 * self.num_matmul_parameters()

    def _output_weight(self) -> Tensor:
        return self.embedding.weight if self.output is None else self.output.weight

    def _initialise(self) -> None:
        """Embeddings from N(0, 1 / C): read, times sqrt(C), they have a variance of one, and as output projection they
        give logits with a variance of at most one. Without the factor the first layer hardly sees its inputs.
        """
        nn.init.normal_(self.embedding.weight, std=self.config.d_model**-0.5)
        for linear in (self.projection, self.output):
            if linear is not None:
                nn.init.xavier_uniform_(linear.weight)
