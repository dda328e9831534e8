"""The actor and the critic themselves."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from hvdtrain.models._spec import DataSpec
    from hvdtrain.models.actor_critic import Config


class ActorCritic(nn.Module):
    """A policy and a value network that share nothing; tanh between the layers.

    Weights are orthogonal: gain sqrt(2) in hidden layers, 0.01 for the logits, so that the first policy is nearly
    uniform, and 1 for the value (Andrychowicz et al. 2021, https://arxiv.org/abs/2006.05990, section 3.2).
    """

    def __init__(self, config: Config, spec: DataSpec) -> None:
        super().__init__()
        self.policy = _network([spec.features, *config.hidden, spec.outputs], last_gain=0.01)
        self.value = _network([spec.features, *config.hidden, 1], last_gain=1.0)

    def forward(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits of the actions (B, A) and the values (B,) of observations (B, F)."""
        return self.policy(observations), self.value(observations).squeeze(-1)

    def flops_per_token(self, seq_len: int) -> float:
        """Return the FLOPs of a forward and backward pass for one observation: 6 for each weight."""
        return 6.0 * sum(p.numel() for p in self.parameters() if p.ndim == 2)


def _network(widths: list[int], last_gain: float) -> nn.Sequential:
    layers: list[nn.Module] = []
    for index, (inputs, outputs) in enumerate(pairwise(widths)):
        linear = nn.Linear(inputs, outputs)
        last = index == len(widths) - 2
        nn.init.orthogonal_(linear.weight, last_gain if last else math.sqrt(2))
        nn.init.zeros_(linear.bias)
        layers += [linear] if last else [linear, nn.Tanh()]
    return nn.Sequential(*layers)
