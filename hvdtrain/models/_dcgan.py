"""The DCGAN itself: generator, discriminator, initialisation."""

from __future__ import annotations

import math
from itertools import pairwise

from torch import Tensor, nn

from hvdtrain.models.dcgan import Config

_GROUPS = 8
_SLOPE = 0.2
"""Of LeakyReLU where it leaks, from the paper."""


class DCGAN(nn.Module):
    """Both networks; the names of their parameters begin with `generator.` and `discriminator.`.

    Attributes:
        z_dim: random numbers that make an image.
        image: (C, H, W) of the images, whose values lie in [-1, 1].
    """

    def __init__(self, config: Config, image: tuple[int, int, int]) -> None:
        super().__init__()
        self.z_dim = config.z_dim
        self.image = image
        self.generator = _generator(config, image)
        self.discriminator = _discriminator(config, image)
        _initialise(self, config.init_std)

    def forward(self, noise: Tensor) -> Tensor:
        """Return images (B, C, H, W) for standard normal noise (B, z_dim)."""
        images: Tensor = self.generator(noise)
        return images

    def judge(self, images: Tensor) -> Tensor:
        """Return logits (B,) for images (B, C, H, W): the larger, the more real."""
        logits: Tensor = self.discriminator(images)
        return logits.squeeze(1)


def _generator(config: Config, image: tuple[int, int, int]) -> nn.Sequential:
    """Return (B, z_dim) -> (B, C, H, W): a projection to small maps, then layers that double their sides."""
    widths = _widths(config)[::-1]
    small = (widths[0], *_smallest(config, image))
    layers: list[nn.Module] = [nn.Linear(config.z_dim, math.prod(small), bias=False), nn.Unflatten(1, small)]
    for before, after in pairwise(widths):
        layers += [*_norm(config.norm, before), nn.ReLU(inplace=True)]
        layers += [nn.ConvTranspose2d(before, after, 4, stride=2, padding=1, bias=False)]
    layers += [*_norm(config.norm, widths[-1]), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.ConvTranspose2d(widths[-1], image[0], 4, stride=2, padding=1), nn.Tanh())


def _discriminator(config: Config, image: tuple[int, int, int]) -> nn.Sequential:
    """Return (B, C, H, W) -> (B, 1): layers that halve the sides; the first is not normalised, as in the paper."""
    widths, norm = _widths(config), config.discriminator_norm
    layers: list[nn.Module] = [nn.Conv2d(image[0], widths[0], 4, stride=2, padding=1)]
    for before, after in pairwise(widths):
        layers += [nn.LeakyReLU(_SLOPE, inplace=True)]
        layers += [nn.Conv2d(before, after, 4, stride=2, padding=1, bias=norm == "none"), *_norm(norm, after)]
    features = widths[-1] * math.prod(_smallest(config, image))
    return nn.Sequential(*layers, nn.LeakyReLU(_SLOPE, inplace=True), nn.Flatten(), nn.Linear(features, 1))


def _widths(config: Config) -> list[int]:
    """Return the channels of the maps, from the largest maps to the smallest."""
    return [config.width * 2**layer for layer in range(config.n_layers)]


def _smallest(config: Config, image: tuple[int, int, int]) -> tuple[int, int]:
    """Return height and width of the smallest maps."""
    factor = 2**config.n_layers
    return image[1] // factor, image[2] // factor


def _norm(kind: str, channels: int) -> list[nn.Module]:
    if kind == "none":
        return []
    return [nn.BatchNorm2d(channels) if kind == "batch" else nn.GroupNorm(_GROUPS, channels)]


def _initialise(model: nn.Module, std: float) -> None:
    """Draw weights from N(0, std) and the scales of norms from N(1, std), as in the paper; biases are 0."""
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.normal_(module.weight, 0.0, std)
        elif isinstance(module, (nn.BatchNorm2d, nn.GroupNorm)):
            nn.init.normal_(module.weight, 1.0, std)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)
