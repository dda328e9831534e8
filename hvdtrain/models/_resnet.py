"""The residual network for small images itself."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from hvdtrain.models._image_norm import make_norm
from hvdtrain.models._spec import DataSpec
from hvdtrain.models.resnet import Config


class ResNet(nn.Module):
    """He et al. 2016, section 4.2; weights of convolutions are drawn as by He et al. 2015
    (https://arxiv.org/abs/1502.01852, equation 10)."""

    def __init__(self, config: Config, spec: DataSpec) -> None:
        super().__init__()
        assert spec.image is not None
        width = config.width
        self.stem = _conv(spec.image[0], width)
        self.norm = make_norm(config.norm, width)
        blocks = []
        for stage in range(3):
            for number in range((config.depth - 2) // 6):
                channels = config.width * 2**stage
                blocks.append(Block(config, width, channels, stride=2 if stage and not number else 1))
                width = channels
        self.blocks = nn.Sequential(*blocks)
        self.output = nn.Linear(width, spec.outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return numbers (B, outputs) for images (B, C, H, W)."""
        x = self.blocks(F.relu(self.norm(self.stem(inputs))))
        outputs: Tensor = self.output(x.mean((2, 3)))
        return outputs


class Block(nn.Module):
    """Two convolutions beside a shortcut, which has no weights."""

    def __init__(self, config: Config, inputs: int, channels: int, stride: int) -> None:
        super().__init__()
        self.stride, self.new_channels = stride, channels - inputs
        self.first, self.first_norm = _conv(inputs, channels, stride), make_norm(config.norm, channels)
        self.second, self.second_norm = _conv(channels, channels), make_norm(config.norm, channels)
        if config.zero_init:
            nn.init.zeros_(self.second_norm.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, channels, H / stride, W / stride), rounded up, for (B, inputs, H, W)."""
        residual = self.second_norm(self.second(F.relu(self.first_norm(self.first(x)))))
        shortcut = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.new_channels))
        return F.relu(residual + shortcut)


def _conv(inputs: int, channels: int, stride: int = 1) -> nn.Conv2d:
    # Without biases: the norm has a shift of its own.
    convolution = nn.Conv2d(inputs, channels, 3, stride=stride, padding=1, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return convolution
