"""CNN: a small convolutional network that classifies images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from hvdtrain.models._norm_config import check_groups
from hvdtrain.registry import RegisteredConfig

if TYPE_CHECKING:
    from hvdtrain.models._cnn import CNN
    from hvdtrain.models._spec import DataSpec

Width = Annotated[int, Field(ge=1, le=2**16)]


class Config(RegisteredConfig):
    """Stages of convolution, norm, ReLU and pooling (as of LeNet-5, LeCun et al. 1998,
    https://doi.org/10.1109/5.726791), then a hidden layer and a linear output.

    A stage has as many channels as `channels` says and `convolutions` layers of `kernel_size`, an odd number, which
    keep the sides of the image; then `pooling` halves them, rounded down. `hidden_dim: 0` leaves the hidden layer
    out. `dropout` acts before the hidden layer and before the output.

    `norm: batch` normalises over the micro batch, so that results depend on the number of workers unless
    `train.sync_batchnorm` is set; `group` over 8 channels of an image, which knows nothing of others.
    """

    name: Literal["cnn"] = "cnn"
    channels: list[Width] = Field(default_factory=lambda: [32, 64], min_length=1, max_length=64)
    convolutions: int = Field(1, ge=1, le=64)
    kernel_size: int = Field(3, ge=1, le=63)
    pooling: Literal["max", "average"] = "max"
    hidden_dim: int = Field(128, ge=0, le=2**20)
    dropout: float = Field(0.0, ge=0, lt=1)
    norm: Literal["none", "group", "batch"] = Field("group", validate_default=True)

    @field_validator("kernel_size")
    @classmethod
    def _kernel_has_a_middle(cls, kernel_size: int) -> int:
        if kernel_size % 2 == 0:
            raise ValueError(f"must be odd, so that it has a middle, such as {kernel_size - 1} or {kernel_size + 1}")
        return kernel_size

    @field_validator("norm")
    @classmethod
    def _groups_divide_channels(cls, norm: str, info: ValidationInfo) -> str:
        check_groups(norm, "model.channels", info.data.get("channels", []))
        return norm


def build(config: Config, spec: DataSpec) -> CNN:
    """Return a freshly initialised CNN; its weights depend on torch's global seed alone.

    Raises:
        RecipeError: the data are no images, or they are too small for so many stages.
    """
    from hvdtrain.models._cnn import CNN

    spec.needs("cnn", "image")
    return CNN(config, spec)
