"""Local SGD: each worker makes several updates by itself, then all take the mean of their parameters.

Stich 2019 (https://arxiv.org/abs/1805.09767), algorithm 1, with any optimizer. `warmup_steps` makes it post-local SGD
(Lin et al. 2020, https://arxiv.org/abs/1808.07217), `outer` makes it DiLoCo (Douillard et al. 2023,
https://arxiv.org/abs/2311.08105).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, Field, NonNegativeInt, PositiveFloat, PositiveInt, ValidationInfo, field_validator

from hvdtrain.registry import RegisteredConfig
from hvdtrain.sync._config import EngineConfig

if TYPE_CHECKING:
    import torch

    from hvdtrain.sync._strategy import NamedParameters, Strategy
    from hvdtrain.world import World


class Outer(BaseModel):
    """The optimizer of the parameters that the workers agree on: SGD, as in `torch.optim.SGD`, with DiLoCo's values."""

    model_config = RegisteredConfig.model_config

    lr: PositiveFloat = 0.7
    momentum: float = Field(0.9, ge=0, lt=1)
    nesterov: bool = Field(True, validate_default=True)

    @field_validator("nesterov")
    @classmethod
    def _nesterov_needs_momentum(cls, nesterov: bool, info: ValidationInfo) -> bool:
        if nesterov and info.data.get("momentum") == 0:
            raise ValueError("nesterov needs momentum: set momentum above 0, such as 0.9, or nesterov to false")
        return nesterov


class Config(EngineConfig):
    """Parameters averaged every `period` updates, which divides the bytes of an update by as much.

    The first `warmup_steps` updates are averaged each. With `outer`, what the workers agreed on last moves by the outer
    optimizer, whose gradient is that minus the mean of the workers' parameters; `outer: {}` has DiLoCo's values.
    """

    coupled = False

    name: Literal["local_sgd"] = "local_sgd"
    period: PositiveInt = 8
    warmup_steps: NonNegativeInt = 0
    outer: Outer | None = None


def build(
    config: Config,
    optimizer: torch.optim.Optimizer,
    *,
    named_parameters: NamedParameters,
    backward_passes_per_step: int,
    world: World,
) -> Strategy:
    """Lay the parameters into one buffer, which is averaged in one piece."""
    from hvdtrain.sync._local_sgd import LocalSGD

    return LocalSGD(config, optimizer, named_parameters, world)
