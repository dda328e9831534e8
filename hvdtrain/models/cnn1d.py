"""CNN1D: convolutions over the tokens of a text, such as the letters of DNA."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, ValidationInfo, field_validator

from hvdtrain.models._norm_config import check_groups
from hvdtrain.registry import RegisteredConfig

if TYPE_CHECKING:
    from hvdtrain.models._cnn1d import CNN1D
    from hvdtrain.models._spec import DataSpec


class Config(RegisteredConfig):
    """Shape of a one-dimensional CNN for classification (as of sentences, Kim 2014, https://arxiv.org/abs/1408.5882).

    `n_layers` convolutions of `kernel_size` tokens, an odd number, with `channels` channels each, then a norm and
    ReLU. `norm: group` normalises groups of 8 channels at each token; `batch` does so over the tokens of a micro batch,
    so that results depend on the number of workers unless `train.sync_batchnorm` is set. `pooling: max` takes the
    largest value of each channel, wherever it is; `flatten` keeps the places, for texts where the place means
    something, such as windows of DNA. `dropout` acts on the embedding and before the output.
    """

    name: Literal["cnn1d"] = "cnn1d"
    d_model: int = Field(32, ge=1, le=2**17)
    channels: int = Field(64, ge=1, le=2**17)
    n_layers: int = Field(2, ge=1, le=4096)
    kernel_size: int = Field(7, ge=1, le=2**12)
    norm: Literal["group", "batch"] = Field("group", validate_default=True)
    pooling: Literal["max", "flatten"] = "max"
    dropout: float = Field(0.2, ge=0, lt=1)
    token_dropout: float = Field(0.0, ge=0, lt=1)
    embedding_std: float = Field(1.0, gt=0)

    @field_validator("kernel_size")
    @classmethod
    def _kernel_has_a_middle(cls, kernel_size: int) -> int:
        if kernel_size % 2 == 0:
            raise ValueError(f"must be odd, so that it has a middle, such as {kernel_size - 1} or {kernel_size + 1}")
        return kernel_size

    @field_validator("norm")
    @classmethod
    def _groups_divide_channels(cls, norm: str, info: ValidationInfo) -> str:
        check_groups(norm, "model.channels", [info.data["channels"]] if "channels" in info.data else [])
        return norm


def build(config: Config, spec: DataSpec) -> CNN1D:
    """Return a freshly initialised classifier; its weights depend on torch's global seed alone.

    Raises:
        RecipeError: the data are no texts.
    """
    from hvdtrain.models._cnn1d import CNN1D

    spec.needs("cnn1d", "vocab_size")
    return CNN1D(config, spec)
