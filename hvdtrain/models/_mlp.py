"""The multilayer perceptron itself."""

from __future__ import annotations

import math
from itertools import pairwise

from torch import Tensor, nn

from hvdtrain.models._spec import DataSpec
from hvdtrain.models.mlp import Config

_ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "tanh": nn.Tanh}


class MLP(nn.Module):
    """Weights of layers before ReLU and GELU are drawn for ReLU (He et al. 2015, https://arxiv.org/abs/1502.01852,
    equation 10), those before tanh and the output for unchanged variance (Glorot and Bengio 2010,
    https://proceedings.mlr.press/v9/glorot10a.html, equation 16); biases are 0."""

    def __init__(self, config: Config, spec: DataSpec) -> None:
        super().__init__()
        inputs = spec.features if spec.image is None else math.prod(spec.image)
        widths = [inputs, *config.hidden_dims]
        layers: list[nn.Module] = [nn.Flatten()]
        for before, after in pairwise(widths):
            layers += [_linear(before, after, config.activation), _ACTIVATIONS[config.activation]()]
            layers += [nn.Dropout(config.dropout)] if config.dropout else []
        self.layers = nn.Sequential(*layers, _linear(widths[-1], spec.outputs, "none"))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return numbers (B, outputs) for rows (B, F) or images (B, C, H, W)."""
        outputs: Tensor = self.layers(inputs)
        return outputs


def _linear(inputs: int, outputs: int, activation: str) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    if activation in ("relu", "gelu"):
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    else:
        nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
