"""Generative adversarial training: a generator learns to make images that a discriminator takes for real ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from hvdtrain.registry import RegisteredConfig

if TYPE_CHECKING:
    from hvdtrain.data.encoders import Encoder
    from hvdtrain.tasks._gan import GAN


class Config(RegisteredConfig):
    """A GAN of two updates a step, the discriminator's and then the generator's.

    `loss` is `non_saturating` (Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661, section 3), `hinge` (Lim and Ye
    2017, https://arxiv.org/abs/1705.02894) or `least_squares` (Mao et al. 2017, https://arxiv.org/abs/1611.04076).
    `label_smoothing` tells the discriminator that a real image is real with one minus this probability only, and leaves
    the others as they are (Salimans et al. 2016, https://arxiv.org/abs/1606.03498, section 3.4).
    `discriminator_lr_factor` and `generator_lr_factor` multiply the learning rate (two time scales: Heusel et al. 2017,
    https://arxiv.org/abs/1706.08500). `noise_seed` is the generator's noise's own.

    Neither loss says how good the images are: each is measured against an opponent that changes too, so they don't rank
    checkpoints. `classifier`, a checkpoint or run directory of a classifier of the same images, does: with it an
    evaluation gives an inception-style score and a Frechet distance, and the best checkpoint is that of the smallest
    distance.
    """

    name: Literal["gan"] = "gan"
    loss: Literal["non_saturating", "hinge", "least_squares"] = "non_saturating"
    label_smoothing: float = Field(0.0, ge=0.0, lt=0.5)
    discriminator_lr_factor: float = Field(1.0, gt=0.0)
    generator_lr_factor: float = Field(1.0, gt=0.0)
    noise_seed: int = Field(0, ge=0, lt=2**32)
    classifier: Annotated[Path | None, Field(strict=False)] = None

    @field_validator("classifier")
    @classmethod
    def _same_place_from_everywhere(cls, classifier: Path | None) -> Path | None:
        """A checkpoint of this run is opened from other working directories than the recipe was."""
        return None if classifier is None else classifier.expanduser().absolute()

    @field_validator("label_smoothing")
    @classmethod
    def _labels_to_smooth(cls, smoothing: float, info: ValidationInfo) -> float:
        if smoothing and info.data.get("loss") == "hinge":
            raise ValueError("the hinge loss has no labels to smooth; set it to 0, or take another loss")
        return smoothing


def build(config: Config, encoder: Encoder) -> GAN:
    """Build the task for images.

    Raises:
        RecipeError: the data holds no images.
    """
    from hvdtrain.tasks._gan import GAN

    return GAN(config, encoder)
