"""One environment that is stepped without end, and the advantages of what happened in several."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from hvdtrain.data.environments import episode_seed


class SteppedEnvironment:
    """An environment whose episodes follow each other.

    Attributes:
        observation: what it shows now, (F,) float.
        began: whether the last step ended an episode, so that what it shows now is the beginning of another.
    """

    def __init__(self, environment: Any, seed: int, number: int) -> None:
        self._environment, self._seed, self._number = environment, seed, number
        self._start = int(environment.action_space.start)
        self._episode = -1
        self._actions: list[int] = []
        self.observation = np.empty(0)
        self.began = True
        self._reset()

    def step(self, action: int) -> tuple[float, np.ndarray | None]:
        """Return the reward, and what was shown last where a time limit cut the episode off."""
        self._actions.append(action)
        seen, reward, terminated, truncated, _ = self._environment.step(self._start + action)
        self.observation, self.began = np.array(seen), terminated or truncated
        final = self.observation if truncated and not terminated else None
        if self.began:
            self._reset()
        return float(reward), final

    def state(self) -> dict[str, Any]:
        """Return the episode and its actions so far: an episode depends on nothing else."""
        return {"episode": self._episode, "actions": list(self._actions)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Play an episode again up to where it stood."""
        self._episode = int(state["episode"]) - 1
        self._reset()
        for action in state["actions"]:
            self.step(int(action))

    def _reset(self) -> None:
        self._episode += 1
        self._actions = []
        seed = episode_seed(self._seed, self._number, self._episode)
        self.observation = np.array(self._environment.reset(seed=seed)[0])


def advantages(kept: Mapping[str, np.ndarray], last: np.ndarray, gamma: float, gae_lambda: float) -> np.ndarray:
    """Return generalised advantage estimates (T, E) float32 (Schulman et al. 2016, equation 16).

    Args:
        kept: `rewards`, `values` (T, E), and `ended` (T, E), 1 where the step was the last of its episode.
        last: values (E,) of what is shown after the last step.
        gamma: discount.
        gae_lambda: 0 gives the temporal difference, 1 the whole return less the value.
    """
    gained = np.zeros_like(kept["rewards"], dtype=np.float64)
    running, following = np.zeros(last.shape), last.astype(np.float64)
    for step in range(len(gained) - 1, -1, -1):
        goes_on = 1.0 - kept["ended"][step]
        delta = kept["rewards"][step] + gamma * following * goes_on - kept["values"][step]
        running = delta + gamma * gae_lambda * goes_on * running
        gained[step], following = running, kept["values"][step].astype(np.float64)
    return gained.astype(np.float32)
