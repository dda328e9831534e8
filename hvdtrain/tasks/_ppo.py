"""Proximal policy optimisation itself: the loss of a batch of transitions, and the returns of whole episodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from hvdtrain.data.environments import Environments, evaluation_seed
from hvdtrain.models._spec import DataSpec
from hvdtrain.tasks._policy import policy_of
from hvdtrain.tasks._task import Batch, Phase, Task

if TYPE_CHECKING:
    from hvdtrain.data.encoders import EnvironmentEncoder
    from hvdtrain.tasks._rollouts import RolloutLoader
    from hvdtrain.tasks.ppo import Config


class PPO(Task):
    """One phase: policy, value and entropy in one loss. A sample is a transition."""

    loss_unit = "of policy, value and entropy"
    objective = ("mean_return", "max")

    def __init__(self, config: Config, encoder: EnvironmentEncoder) -> None:
        self._config = config
        self._environment = Environments(encoder.environment, 1, 1)
        self._actions = encoder.class_names
        self.phases = (Phase("ppo", trains=lambda name: True, loss=self._loss),)
        self.spec = DataSpec(features=encoder.observation, outputs=len(encoder.class_names))

    def loader(self, **context: Any) -> RolloutLoader:
        from hvdtrain.tasks._rollouts import RolloutLoader

        return RolloutLoader(self._config, **context)

    def _loss(self, model: torch.nn.Module, batch: Batch) -> Tensor:
        """Return the sum over transitions of the loss (equation 9 of the paper, with its sign turned)."""
        logits, values = policy_of(model, batch["observations"])
        log_probs = torch.log_softmax(logits, dim=-1)
        chosen = log_probs.gather(1, batch["actions"].unsqueeze(1)).squeeze(1)
        ratio = (chosen - batch["log_probs"]).exp()
        advantages, clip = batch["advantages"], self._config.clip
        policy = -torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages)
        value = 0.5 * (values - batch["returns"]).square()
        entropy = -(log_probs.exp() * log_probs).sum(dim=1)
        whole = policy + self._config.value_coefficient * value - self._config.entropy_coefficient * entropy
        total: Tensor = whole.sum()
        return total

    def evaluate(self, model: torch.nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Play the episodes of a batch with the most likely action at each step."""
        device = batch["episode"].device
        returns, lengths = self._play(model, batch["episode"].tolist(), device)
        return {
            "returns": returns.sum(),
            "squares": returns.square().sum(),
            "steps": lengths.sum(),
            "episodes": torch.tensor(float(len(returns))),
        }

    def metrics(self, totals: Mapping[str, Tensor]) -> dict[str, float]:
        sums = {name: float(value) for name, value in totals.items()}
        episodes = sums["episodes"]
        mean = sums["returns"] / episodes
        spread = max(0.0, sums["squares"] / episodes - mean**2) ** 0.5
        return {"mean_return": mean, "return_spread": spread, "episode_length": sums["steps"] / episodes}

    def predict(self, model: torch.nn.Module, batch: Batch) -> list[dict[str, Any]]:
        logits, values = policy_of(model, batch["inputs"])
        probabilities = torch.softmax(logits, dim=-1)
        best = probabilities.argmax(dim=-1)
        return [
            {"action": self._actions[int(a)], "probability": float(p[int(a)]), "value": float(v)}
            for a, p, v in zip(best, probabilities, values, strict=True)
        ]

    def _play(self, model: torch.nn.Module, episodes: list[int], device: torch.device) -> tuple[Tensor, Tensor]:
        """Return the returns and the lengths of episodes that are played side by side, one forward pass a step."""
        made = [self._environment.make() for _ in episodes]
        seen = [one.reset(seed=evaluation_seed(number))[0] for one, number in zip(made, episodes, strict=True)]
        returns, lengths = torch.zeros(len(made), dtype=torch.float64), torch.zeros(len(made), dtype=torch.float64)
        running = list(range(len(made)))
        while running:
            observations = torch.from_numpy(np.stack([seen[i] for i in running]).astype(np.float32)).to(device)
            actions = policy_of(model, observations)[0].argmax(dim=-1).tolist()
            still = []
            for index, action in zip(running, actions, strict=True):
                start = int(made[index].action_space.start)
                seen[index], reward, terminated, truncated, _ = made[index].step(start + action)
                returns[index] += float(reward)
                lengths[index] += 1
                if not (terminated or truncated):
                    still.append(index)
            running = still
        for one in made:
            one.close()
        return returns, lengths
