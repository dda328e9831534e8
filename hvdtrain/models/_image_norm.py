"""The norms of classifiers of images."""

from __future__ import annotations

from typing import Literal

from torch import nn

from hvdtrain.models._norm_config import GROUP_WIDTH


def make_norm(kind: Literal["batch", "group"], channels: int) -> nn.BatchNorm2d | nn.GroupNorm:
    """Return a layer (B, C, H, W) -> (B, C, H, W).

    `batch` is of Ioffe and Szegedy 2015 (https://arxiv.org/abs/1502.03167), `group` of Wu and He 2018
    (https://arxiv.org/abs/1803.08494).
    """
    if kind == "batch":
        return nn.BatchNorm2d(channels)
    return nn.GroupNorm(channels // GROUP_WIDTH, channels)
