"""Classification: which of several classes a text, an image or a row of numbers is of."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from hvdtrain.registry import RegisteredConfig

if TYPE_CHECKING:
    from hvdtrain.data.encoders import Encoder
    from hvdtrain.tasks._classification import Classification


class Config(RegisteredConfig):
    """Cross entropy over the classes of the data; with `label_smoothing`, that share of the probability is spread over
    all classes in training (Szegedy et al. 2016, https://arxiv.org/abs/1512.00567, section 7)."""

    target_kind: ClassVar[str] = "class"

    name: Literal["classification"] = "classification"
    label_smoothing: float = Field(0.0, ge=0.0, lt=1.0)


def build(config: Config, encoder: Encoder) -> Classification:
    """Build the task.

    Raises:
        RecipeError: the data has no classes.
    """
    from hvdtrain.tasks._classification import Classification

    return Classification(config, encoder)
