"""Environments made ready for training: what a policy sees and does, and the episodes of an evaluation."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from typing import TYPE_CHECKING

import numpy as np
import torch

from hvdtrain.data import cache
from hvdtrain.data.encoders import EnvironmentEncoder
from hvdtrain.data.environments import Environments, random_return
from hvdtrain.data.prepared import PreparedData
from hvdtrain.registry import find

if TYPE_CHECKING:
    from hvdtrain.registry import RegisteredConfig

FORMAT = 1
RANDOM_POLICY = "random policy"


class Episodes:
    """`count` episodes to play, by their numbers from `first` on: a batch holds `episode` (B,) int64."""

    labels: np.ndarray | None = None
    shards: np.ndarray | None = None

    def __init__(self, count: int, first: int) -> None:
        self.targets = count
        self._first = first

    def __len__(self) -> int:
        return self.targets

    def batch(self, indices: np.ndarray) -> dict[str, torch.Tensor]:
        return {"episode": torch.from_numpy(np.asarray(indices, dtype=np.int64) + self._first)}


class Copies:
    """The environments that are stepped for training; a batch is of observations that nobody has seen, in the shape of
    a rollout's: what a model costs can be told from it."""

    labels: np.ndarray | None = None
    shards: np.ndarray | None = None

    def __init__(self, environments: Environments, observation: int, actions: int) -> None:
        self.environments = environments
        self.targets = environments.count
        self._observation, self._actions = observation, actions

    def __len__(self) -> int:
        return self.environments.count

    def batch(self, indices: np.ndarray) -> dict[str, torch.Tensor]:
        count = len(indices)
        scalars = {name: torch.zeros(count) for name in ("log_probs", "advantages", "returns")}
        return {
            "observations": torch.zeros(count, self._observation),
            "actions": torch.zeros(count, dtype=torch.int64),
        } | scalars


def prepare_environments(config: RegisteredConfig, seed: int) -> PreparedData:
    """Return the environments that a recipe names. The best checkpoint is chosen by the episodes of `val`, so that
    `test` has others; the marks are of those.

    Raises:
        UserError: they can't be made, see `Environments.make`, or the cache can't be written.
    """
    environments: Environments = find("data", config.name).environments(config)
    made = environments.make()
    observation, actions = int(made.observation_space.shape[0]), int(made.action_space.n)
    made.close()
    version = importlib.metadata.version("gymnasium")
    identity = json.dumps([config.model_dump(mode="json"), seed, version], sort_keys=True)
    marks = {RANDOM_POLICY: _random_mark(environments, environments.eval_episodes, version)}
    solved = environments.threshold()
    return PreparedData(
        train=Copies(environments, observation, actions),
        val=Episodes(environments.eval_episodes, first=0),
        test=Episodes(environments.eval_episodes, first=environments.eval_episodes),
        encoder=EnvironmentEncoder(
            environment=environments.name,
            observation=observation,
            class_names=tuple(f"action {number}" for number in range(actions)),
        ),
        fingerprint=hashlib.sha256(identity.encode()).hexdigest(),
        references={"mean_return": marks | ({} if solved is None else {"solved": solved})},
    )


def _random_mark(environments: Environments, first: int, version: str) -> float:
    """Return what a random policy reaches in the episodes from `first` on; they are played once a host."""
    depends_on = [FORMAT, environments.name, first, environments.eval_episodes, version]
    key = hashlib.sha256(json.dumps(depends_on).encode()).hexdigest()
    entry = cache.root() / "prepared" / f"random-policy-{key[:20]}"
    facts = cache.ensure(entry, lambda folder: {RANDOM_POLICY: random_return(environments, first)})
    return float(facts[RANDOM_POLICY])
