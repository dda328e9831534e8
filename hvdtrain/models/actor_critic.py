"""Actor and critic: two multilayer perceptrons over observations, a policy over actions and a value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, PositiveInt

from hvdtrain.registry import RegisteredConfig

if TYPE_CHECKING:
    from hvdtrain.models._actor_critic import ActorCritic
    from hvdtrain.models._spec import DataSpec


class Config(RegisteredConfig):
    """Widths of the hidden layers, which the policy and the value network each have for themselves."""

    name: Literal["actor_critic"] = "actor_critic"
    hidden: Annotated[list[PositiveInt], Field(min_length=1, max_length=16)] = Field(default_factory=lambda: [64, 64])


def build(config: Config, spec: DataSpec) -> ActorCritic:
    """Return freshly initialised networks; their weights depend on torch's global seed alone."""
    from hvdtrain.models._actor_critic import ActorCritic

    spec.needs(config.name, "features")
    return ActorCritic(config, spec)
