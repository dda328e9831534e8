"""What a recipe says of the optimizer."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, ValidationInfo, field_validator

from hvdtrain.recipe.checks import Section, misfit

Beta = Annotated[float, Field(ge=0, lt=1)]


class AdamWConfig(Section):
    """AdamW (Loshchilov and Hutter 2019, https://arxiv.org/abs/1711.05101).

    `fused: auto` takes PyTorch's fused step where that is faster.
    """

    name: Literal["adamw"] = "adamw"
    lr: PositiveFloat
    betas: Annotated[tuple[Beta, Beta], Field(strict=False)] = (0.9, 0.999)
    eps: PositiveFloat = 1e-8
    weight_decay: NonNegativeFloat = 0.01
    fused: Literal["auto"] | bool = "auto"


class SGDConfig(Section):
    """Stochastic gradient descent, with momentum where asked for, as in `torch.optim.SGD`."""

    name: Literal["sgd"] = "sgd"
    lr: PositiveFloat
    momentum: float = Field(0.0, ge=0, lt=1)
    dampening: float = Field(0.0, ge=0, le=1)
    nesterov: bool = False
    weight_decay: NonNegativeFloat = 0.0

    @field_validator("nesterov")
    @classmethod
    def _nesterov_needs_momentum(cls, nesterov: bool, info: ValidationInfo) -> bool:
        if nesterov and info.data.get("momentum") == 0:
            raise misfit("nesterov", "needs momentum; set optimizer.momentum, such as 0.9")
        if nesterov and info.data.get("dampening", 0) != 0:
            raise misfit("nesterov", f"needs optimizer.dampening = 0, which is {info.data['dampening']:g}")
        return nesterov


OptimizerConfig = Annotated[AdamWConfig | SGDConfig, Field(discriminator="name")]
