"""Binary classification: one logit, of the second of two classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import PositiveFloat

from hvdtrain.registry import RegisteredConfig

if TYPE_CHECKING:
    from hvdtrain.data.encoders import Encoder
    from hvdtrain.tasks._binary_classification import BinaryClassification


class Config(RegisteredConfig):
    """Binary cross entropy of one logit, the second class being 1; `positive_weight` multiplies the loss of its
    samples in training, for classes of unequal size."""

    target_kind: ClassVar[str] = "class"

    name: Literal["binary_classification"] = "binary_classification"
    positive_weight: PositiveFloat = 1.0


def build(config: Config, encoder: Encoder) -> BinaryClassification:
    """Build the task.

    Raises:
        RecipeError: the data has no classes, or more than two.
    """
    from hvdtrain.tasks._binary_classification import BinaryClassification

    return BinaryClassification(config, encoder)
