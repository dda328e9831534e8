"""Environments to act in: made by name, reset by a seed that is a function of the run's, the environment and the
episode, so that every episode can be played again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hvdtrain.errors import DataError, SetupError, nearest

EVALUATION = 0x6576616C
"""Keeps the seeds of evaluation episodes apart from those of training."""


@dataclass(frozen=True)
class Environments:
    """`count` environments of one name, and the number of episodes of an evaluation."""

    name: str
    count: int
    eval_episodes: int

    def make(self) -> Any:
        """Return a new environment.

        Raises:
            SetupError: Gymnasium is not installed.
            DataError: it has no such environment, or one that has no discrete actions or no vector of numbers to see.
        """
        gymnasium = _gymnasium()
        known = list(gymnasium.registry)
        if self.name not in known:
            raise DataError(
                f"data.environment = {self.name}: Gymnasium has none of that name{nearest(self.name, known)}"
            )
        try:
            made = gymnasium.make(self.name)
        except Exception as error:  # whatever an environment's own package raises
            raise DataError(f"data.environment = {self.name}: can't be made: {error}") from error
        if not isinstance(made.action_space, gymnasium.spaces.Discrete) or not _is_vector(made.observation_space):
            raise DataError(
                f"data.environment = {self.name}: acts by {made.action_space} and shows {made.observation_space}; "
                "expected discrete actions and a vector of numbers, as CartPole-v1 and Acrobot-v1 have"
            )
        return made

    def threshold(self) -> float | None:
        """Return the mean return at which Gymnasium calls the environment solved, if it says so."""
        value = _gymnasium().spec(self.name).reward_threshold
        return None if value is None else float(value)


def episode_seed(seed: int, environment: int, episode: int) -> int:
    """Return the seed that an episode of an environment begins with."""
    return int(np.random.SeedSequence((seed, environment, episode)).generate_state(1)[0])


def evaluation_seed(episode: int) -> int:
    """Return the seed that an episode of an evaluation begins with: the same for every run."""
    return episode_seed(0, EVALUATION, episode)


def random_return(environments: Environments, first: int) -> float:
    """Return the mean return of a policy that draws each action with equal probability, over an evaluation's episodes
    from number `first` on."""
    returns = []
    made = environments.make()
    draw = np.random.Generator(np.random.Philox(np.random.SeedSequence(EVALUATION)))
    for episode in range(first, first + environments.eval_episodes):
        made.reset(seed=evaluation_seed(episode))
        total, over = 0.0, False
        while not over:
            action = made.action_space.start + int(draw.random() * made.action_space.n)
            _, reward, terminated, truncated, _ = made.step(action)
            total, over = total + float(reward), terminated or truncated
        returns.append(total)
    made.close()
    return float(np.mean(returns))


def _is_vector(space: Any) -> bool:
    return len(getattr(space, "shape", None) or ()) == 1


def _gymnasium() -> Any:
    try:
        import gymnasium
    except ImportError as error:
        raise SetupError(
            "reinforcement learning needs Gymnasium, which is not installed: pip install 'hvdtrain[gymnasium]'"
        ) from error
    return gymnasium
