"""MLP: a multilayer perceptron for rows of numbers, or for small images as rows of pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from hvdtrain.registry import RegisteredConfig

if TYPE_CHECKING:
    from hvdtrain.models._mlp import MLP
    from hvdtrain.models._spec import DataSpec

Width = Annotated[int, Field(ge=1, le=2**20)]


class Config(RegisteredConfig):
    """Linear layers of `hidden_dims` units, each followed by the activation and dropout, and a linear output.

    `hidden_dims: []` is linear or logistic regression.
    """

    name: Literal["mlp"] = "mlp"
    hidden_dims: list[Width] = Field(default_factory=lambda: [64, 64], max_length=1024)
    activation: Literal["relu", "gelu", "tanh"] = "relu"
    dropout: float = Field(0.0, ge=0, lt=1)


def build(config: Config, spec: DataSpec) -> MLP:
    """Return a freshly initialised MLP; its weights depend on torch's global seed alone.

    Raises:
        RecipeError: the data are neither rows nor images.
    """
    from hvdtrain.models._mlp import MLP

    if spec.image is None:
        spec.needs("mlp", "features")
    return MLP(config, spec)
