"""DCGAN: a generator that makes images of noise and a discriminator that tells them from real ones, convolutions both
(Radford et al. 2016, https://arxiv.org/abs/1511.06434)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from hvdtrain.errors import RecipeError
from hvdtrain.registry import RegisteredConfig

if TYPE_CHECKING:
    from hvdtrain.models._dcgan import DCGAN
    from hvdtrain.models._spec import DataSpec


class Config(RegisteredConfig):
    """Shape of a DCGAN: `z_dim` random numbers make an image.

    Each of `n_layers` layers halves an image's sides in the discriminator and doubles them in the generator: 2 for
    28 x 28, 4 for the paper's 64 x 64. The layer nearest to the image has `width` channels, the next one twice as many.

    `norm` is the generator's and `discriminator_norm` the discriminator's. `batch` is the paper's: samples then depend
    on what else is in their micro batch, and N workers equal one only with `train.sync_batchnorm`. `group` is over 8
    groups of channels of each sample alone (Wu and He 2018, https://arxiv.org/abs/1803.08494): N workers equal one as
    it is.
    """

    name: Literal["dcgan"] = "dcgan"
    z_dim: int = Field(64, ge=1, le=2**16)
    width: int = Field(32, ge=8, le=2**14, multiple_of=8)
    n_layers: int = Field(2, ge=1, le=10)
    norm: Literal["batch", "group"] = "group"
    discriminator_norm: Literal["batch", "group", "none"] = "group"
    init_std: float = Field(0.02, gt=0, allow_inf_nan=False)


def build(config: Config, spec: DataSpec) -> DCGAN:
    """Return a freshly initialised DCGAN; its weights depend on torch's global seed alone.

    Raises:
        RecipeError: the data holds no images, or of sides that the layers can't halve; or the task wants something
            else than images.
    """
    from hvdtrain.models._dcgan import DCGAN

    spec.needs("dcgan", "image")
    if spec.outputs:
        raise RecipeError(
            f"model.name = dcgan: makes images, and the task of this recipe wants {spec.outputs} outputs for each; "
            "train it with task: {name: gan}"
        )
    assert spec.image is not None
    sides, factor = spec.image[1:], 2**config.n_layers
    if any(side % factor for side in sides):
        possible = [n for n in range(1, config.n_layers) if not any(side % 2**n for side in sides)]
        advice = f"set model.n_layers={possible[-1]}" if possible else "make the images' sides even numbers"
        raise RecipeError(
            f"model.n_layers = {config.n_layers}: halves an image's sides as often, and {sides[0]} x {sides[1]} pixels "
            f"can't be divided by {factor}; {advice}"
        )
    return DCGAN(config, spec.image)
