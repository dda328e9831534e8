"""The small convolutional network itself."""

from __future__ import annotations

from torch import Tensor, nn

from hvdtrain.errors import RecipeError
from hvdtrain.models._image_norm import make_norm
from hvdtrain.models._spec import DataSpec
from hvdtrain.models.cnn import Config


class CNN(nn.Module):
    """Weights before ReLU are drawn as by He et al. 2015 (https://arxiv.org/abs/1502.01852, equation 10)."""

    def __init__(self, config: Config, spec: DataSpec) -> None:
        super().__init__()
        assert spec.image is not None
        width, height, rows = spec.image
        layers: list[nn.Module] = []
        for channels in config.channels:
            for _ in range(config.convolutions):
                layers += _convolution(config, width, channels)
                width = channels
            layers.append(nn.MaxPool2d(2) if config.pooling == "max" else nn.AvgPool2d(2))
            height, rows = height // 2, rows // 2
        if not height or not rows:
            raise RecipeError(
                f"model.channels: has {len(config.channels)} stages, each of which halves the sides of an image; those "
                f"of this recipe's data, {spec.image[1]} x {spec.image[2]}, allow "
                f"{min(spec.image[1:]).bit_length() - 1}"
            )
        self.features = nn.Sequential(*layers)
        self.head = _head(config, width * height * rows, spec.outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return numbers (B, outputs) for images (B, C, H, W)."""
        outputs: Tensor = self.head(self.features(inputs))
        return outputs


def _convolution(config: Config, inputs: int, channels: int) -> list[nn.Module]:
    # The norm has a shift of its own.
    convolution = nn.Conv2d(
        inputs, channels, config.kernel_size, padding=config.kernel_size // 2, bias=config.norm == "none"
    )
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
    norm = [make_norm(config.norm, channels)] if config.norm != "none" else []
    return [convolution, *norm, nn.ReLU(inplace=True)]


def _head(config: Config, features: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Flatten()]
    dropout = [nn.Dropout(config.dropout)] if config.dropout else []
    if config.hidden_dim:
        hidden = nn.Linear(features, config.hidden_dim)
        nn.init.kaiming_normal_(hidden.weight, nonlinearity="relu")
        layers += [*dropout, hidden, nn.ReLU(inplace=True)]
        features = config.hidden_dim
    return nn.Sequential(*layers, *dropout, nn.Linear(features, outputs))
