"""The bidirectional LSTM itself.

Shapes: B texts, T tokens, C width of the embedding, H width of one direction.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hvdtrain.models._recurrent import make_layers, matmul_parameters
from hvdtrain.models._spec import DataSpec
from hvdtrain.models._texts import TokenDropout, masked_max, masked_mean, valid_tokens
from hvdtrain.models.bilstm import Config


class BiLSTM(nn.Module):
    """Embedding, layers of two directions, mean and maximum over the tokens, output."""

    def __init__(self, config: Config, spec: DataSpec) -> None:
        super().__init__()
        self.config = config
        self.pad_id = spec.pad_id
        self.embedding = nn.Embedding(spec.vocab_size, config.d_model)
        self.token_dropout = TokenDropout(config.token_dropout)
        self.dropout = nn.Dropout(config.dropout)
        widths = [config.d_model, *[2 * config.hidden_dim] * (config.n_layers - 1)]
        self.layers = nn.ModuleList(BothDirections(width, config.hidden_dim) for width in widths)
        self.output = nn.Linear(4 * config.hidden_dim, spec.outputs)
        nn.init.normal_(self.embedding.weight, std=config.embedding_std)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (B, outputs) for token ids (B, T)."""
        valid = valid_tokens(inputs, self.pad_id)
        x = self.dropout(self.token_dropout(self.embedding(inputs)))
        for layer in self.layers:
            x = self.dropout(layer(x, valid))
        return self.output(torch.cat([masked_mean(x, valid), masked_max(x, valid)], 1))  # type: ignore[no-any-return]

    def flops_per_token(self, seq_len: int) -> float:
        """Return the FLOPs of a forward and backward pass for a target, which is a text of `seq_len` tokens.

        N weights multiply and add once forward and twice backward: those of the layers at each token. PyTorch's
        counter does not see the products within an LSTM.
        """
        directions = [m for m in self.layers.modules() if isinstance(m, nn.LSTM)]
        layers = sum(matmul_parameters(direction) for direction in directions)
        return 6.0 * (seq_len * layers + self.output.weight.numel())


class BothDirections(nn.Module):
    """One LSTM reads each text from its first token, another from its last, not from the padding behind it.

    torch's bidirectional LSTM does so for packed sequences only, which its fast CPU kernels do not take; turning the
    texts round and back costs two look-ups.
    """

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.forwards = make_layers("lstm", inputs, width)
        self.backwards = make_layers("lstm", inputs, width)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """Return (B, T, 2 H) for (B, T, inputs), of which the padding means nothing."""
        turn = _reversal(valid)
        ahead, _ = self.forwards(x)
        back, _ = self.backwards(_take(x, turn))
        return torch.cat([ahead, _take(back, turn)], 2)


def _reversal(valid: Tensor) -> Tensor:
    """Return (B, T): the place that each token of a text gets when the text is turned round; padding stays."""
    places = torch.arange(valid.shape[1], device=valid.device)
    return torch.where(valid, valid.sum(1, keepdim=True) - 1 - places, places)


def _take(x: Tensor, places: Tensor) -> Tensor:
    return x.gather(1, places[..., None].expand_as(x))
