"""Proximal policy optimisation: each worker acts in its own environments, and all learn one policy."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, NonNegativeFloat, PositiveInt

from hvdtrain.registry import RegisteredConfig

if TYPE_CHECKING:
    from hvdtrain.data.encoders import EnvironmentEncoder
    from hvdtrain.tasks._ppo import PPO


class Config(RegisteredConfig):
    """PPO with the clipped objective (Schulman et al. 2017, https://arxiv.org/abs/1707.06347).

    A rollout is `rollout_steps` steps of every environment; `epochs` times its steps are cut into global batches.
    `gamma` discounts, `gae_lambda` is that of generalised advantage estimation (Schulman et al. 2016,
    https://arxiv.org/abs/1506.02438), `clip` the range of the probability ratio; the two coefficients weigh the value's
    squared error and the entropy in the loss.
    """

    data_form: ClassVar[str] = "environments"

    name: Literal["ppo"] = "ppo"
    rollout_steps: PositiveInt = 128
    epochs: PositiveInt = 4
    gamma: float = Field(0.99, gt=0, le=1)
    gae_lambda: float = Field(0.95, ge=0, le=1)
    clip: float = Field(0.2, gt=0, lt=1)
    value_coefficient: NonNegativeFloat = 0.5
    entropy_coefficient: NonNegativeFloat = 0.01


def build(config: Config, encoder: EnvironmentEncoder) -> PPO:
    """Build the task for an environment."""
    from hvdtrain.tasks._ppo import PPO

    return PPO(config, encoder)
