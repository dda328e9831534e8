"""ResNet: the residual network for small images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, ValidationInfo, field_validator

from hvdtrain.models._norm_config import check_groups
from hvdtrain.registry import RegisteredConfig

if TYPE_CHECKING:
    from hvdtrain.models._resnet import ResNet
    from hvdtrain.models._spec import DataSpec


class Config(RegisteredConfig):
    """Shape of a residual network of 6n + 2 layers (He et al. 2016, https://arxiv.org/abs/1512.03385, section 4.2).

    A convolution, then three stages of n blocks of two convolutions each, with `width`, 2 `width` and 4 `width`
    channels; the second and the third stage halve the sides of the image, and their shortcuts fill up with zeros
    (option A). Then the mean over the image and a linear output. `depth` is 6n + 2, such as 8, 14, 20.

    `zero_init: true` starts the scale of a block's last norm at 0, so that the block is the identity at first (Goyal
    et al. 2017, https://arxiv.org/abs/1706.02677, section 5.1).

    `norm: batch`, the paper's, normalises over the micro batch, so that results depend on the number of workers unless
    `train.sync_batchnorm` is set; `group` over 8 channels of an image, which knows nothing of others.
    """

    name: Literal["resnet"] = "resnet"
    depth: int = Field(8, ge=8, le=6 * 2**12 + 2)
    width: int = Field(16, ge=1, le=2**14)
    norm: Literal["batch", "group"] = Field("batch", validate_default=True)
    zero_init: bool = True

    @field_validator("depth")
    @classmethod
    def _depth_is_of_whole_blocks(cls, depth: int) -> int:
        if depth % 6 != 2:
            below = (depth - 2) // 6 * 6 + 2
            raise ValueError(
                f"must be 6 n + 2, two layers a block in three stages of n, such as {below} or {below + 6}"
            )
        return depth

    @field_validator("norm")
    @classmethod
    def _groups_divide_channels(cls, norm: str, info: ValidationInfo) -> str:
        check_groups(norm, "model.width", [info.data["width"]] if "width" in info.data else [])
        return norm


def build(config: Config, spec: DataSpec) -> ResNet:
    """Return a freshly initialised ResNet; its weights depend on torch's global seed alone.

    Raises:
        RecipeError: the data are no images.
    """
    from hvdtrain.models._resnet import ResNet

    spec.needs("resnet", "image")
    return ResNet(config, spec)
