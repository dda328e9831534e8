"""Gymnasium environments, for reinforcement learning: each worker steps its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, PositiveInt

from hvdtrain.registry import RegisteredConfig

if TYPE_CHECKING:
    from hvdtrain.data.environments import Environments


class Config(RegisteredConfig):
    """An environment with discrete actions, by its Gymnasium name.

    `environments` copies are stepped together, all workers' together: each worker has its share of them.
    `eval_episodes` are played for an evaluation, the same ones each time; `hvdtrain evaluate` plays as many others.
    """

    name: Literal["gymnasium"] = "gymnasium"
    environment: str = Field("CartPole-v1", min_length=1)
    environments: PositiveInt = 8
    eval_episodes: PositiveInt = 100


def environments(config: Config) -> Environments:
    """Return the environments, none of them made yet; DataError where there are none of that name."""
    from hvdtrain.data.environments import Environments

    return Environments(config.environment, config.environments, config.eval_episodes)
