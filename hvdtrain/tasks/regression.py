"""Regression: a number for each sample."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from hvdtrain.registry import RegisteredConfig

if TYPE_CHECKING:
    from hvdtrain.data.encoders import Encoder
    from hvdtrain.tasks._regression import Regression


class Config(RegisteredConfig):
    """Squared error of the target less its mean, over its standard deviation, both of the training part."""

    target_kind: ClassVar[str] = "number"

    name: Literal["regression"] = "regression"


def build(config: Config, encoder: Encoder) -> Regression:
    """Build the task.

    Raises:
        RecipeError: the targets are no numbers.
    """
    from hvdtrain.tasks._regression import Regression

    return Regression(config, encoder)
