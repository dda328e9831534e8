"""Rollouts: transitions that the current policy makes in the environments, dealt out as global batches.

The environments are dealt to the workers as samples are: worker r of n steps environments r, r + n, ... What an
environment does depends on its number, on the run's seed and on the policy, so the transitions of a rollout, and those
of each global batch, are those of one worker, but for rounding: how many environments the policy is asked about at a
time changes the last bits of its answers, and where one lies on the edge between two actions another trajectory begins.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from hvdtrain.data.environments import Environments
from hvdtrain.data.ordering import permutation
from hvdtrain.errors import CheckpointError, RecipeError
from hvdtrain.tasks._policy import policy_of
from hvdtrain.tasks._stepping import SteppedEnvironment, advantages

if TYPE_CHECKING:
    from hvdtrain.data.prepared import PreparedData
    from hvdtrain.tasks._task import Batch
    from hvdtrain.tasks.ppo import Config
    from hvdtrain.world import World

Rollout = dict[str, np.ndarray]
"""Arrays (T, E) of this worker's E environments, float32, by the names of a batch; `observations` (T, E, F)."""


class RolloutLoader:
    """One worker's micro batches of one global batch after another; collects a new rollout where the last is used up.

    A global batch takes as many steps of each environment, so that every worker has an equal share. Attributes as in
    `data.loader.Loader`.
    """

    total_steps: int | None = None

    def __init__(
        self,
        config: Config,
        *,
        data: PreparedData,
        model: torch.nn.Module,
        world: World,
        device: torch.device,
        seed: int,
        epochs: int | None,
        global_batch_size: int,
        micro_batch_size: int,
    ) -> None:
        environments: Environments = data.train.environments  # type: ignore[attr-defined]
        _check(config, environments.count, world.size, global_batch_size, epochs)
        self.position = 0
        self.sample_ids = np.empty(0, dtype=np.int64)
        self._config, self._model, self._world, self._device, self._seed = config, model, world, device, seed
        self._identity = {
            "task.rollout_steps": config.rollout_steps,
            "task.epochs": config.epochs,
            "train.global_batch_size": global_batch_size,
        }
        self._numbers = range(world.rank, environments.count, world.size)
        self._stepped = {n: SteppedEnvironment(environments.make(), seed, n) for n in self._numbers}
        self._count = environments.count
        self._steps_of_each = global_batch_size // environments.count
        self._micro_batch_size = micro_batch_size
        self._batches = config.epochs * config.rollout_steps // self._steps_of_each
        """Global batches of a rollout."""
        self._collected = 0
        self._used = self._batches
        self._rollout: Rollout = {}

    def __iter__(self) -> Iterator[list[Batch]]:
        return self

    def __next__(self) -> list[Batch]:
        """Return this worker's micro batches of the next global batch."""
        if self._used == self._batches:
            self._rollout = self._collect()
            self._collected += 1
            self._used = 0
        epoch, part = divmod(self._used, self._config.rollout_steps // self._steps_of_each)
        rows = []
        for column, number in enumerate(self._numbers):
            order = permutation(self._config.rollout_steps, self._seed, self._collected, epoch, number)
            steps = order[part * self._steps_of_each : (part + 1) * self._steps_of_each]
            rows.append((steps, np.full(len(steps), column)))
        steps, columns = (np.concatenate(one) for one in zip(*rows, strict=True))
        self._used += 1
        self.position += self._steps_of_each * self._count
        size = self._micro_batch_size
        return [self._batch(steps[i : i + size], columns[i : i + size]) for i in range(0, len(steps), size)]

    def steps_left(self) -> int | None:
        """Return None: environments have no end."""
        return None

    def state_dict(self) -> dict[str, Any]:
        """Return where all workers' environments stand, and the rollout that is being used, as JSON values.

        An environment's state is the episode's seed and the actions so far: they are played again.
        """
        own = {
            str(number): {
                "episode": self._stepped[number].state(),
                "rollout": {name: array[:, column].tolist() for name, array in self._rollout.items()},
            }
            for column, number in enumerate(self._numbers)
        }
        everyone: dict[str, Any] = {}
        for one in self._world.gather(own):
            everyone |= one
        return {
            "position": self.position,
            "collected": self._collected,
            "used": self._used,
            "seed": self._seed,
            "environments": everyone,
            "identity": self._identity,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state, with any number of workers.

        Raises:
            CheckpointError: it is of another number of environments, another seed, other rollouts or another global
                batch: its place in a rollout means nothing here.
        """
        if len(state["environments"]) != self._count or state["seed"] != self._seed:
            raise CheckpointError(
                f"the checkpoint has {len(state['environments'])} environments and seed {state['seed']}, this run "
                f"{self._count} and {self._seed}: resume with those of the checkpoint"
            )
        for name, now in self._identity.items():
            before = state["identity"].get(name)
            if before != now:
                raise CheckpointError(
                    f"the checkpoint is in the middle of another rollout: {name} was {before} and is {now} now; resume "
                    f"with {name}={before}, or start anew with --resume never"
                )
        own = [state["environments"][str(number)] for number in self._numbers]
        for number, saved in zip(self._numbers, own, strict=True):
            self._stepped[number].restore(saved["episode"])
        names = own[0]["rollout"] if own else {}
        self._rollout = {
            name: np.stack([np.array(saved["rollout"][name], dtype=np.float32) for saved in own], axis=1)
            for name in names
        }
        places = [state["position"], state["collected"], state["used"]]
        if not all(isinstance(place, int) and 0 <= place < 2**62 for place in places) or places[2] > self._batches:
            raise CheckpointError(f"the checkpoint's place in its rollouts is {str(places)[:90]}, which can't be")
        self.position, self._collected, self._used = places

    def _collect(self) -> Rollout:
        """Step this worker's environments; then standardise advantages over all workers' transitions."""
        length, width = self._config.rollout_steps, len(self._numbers)
        # One draw for each environment and step, the same whoever steps it.
        bits = np.random.Philox(np.random.SeedSequence((self._seed, self._collected))).random_raw(length * self._count)
        draws = (bits.reshape(length, self._count)[:, list(self._numbers)] >> np.uint64(11)) * 2.0**-53
        scalars = ("actions", "log_probs", "rewards", "values", "ended")
        kept: Rollout = {name: np.zeros((length, width), dtype=np.float32) for name in scalars}
        seen = []
        for step in range(length):
            seen.append(np.stack([one.observation for one in self._stepped.values()]))
            logits, values = self._policy(seen[-1])
            shifted = logits - logits.max(1, keepdims=True)
            log_probs = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
            for column, one in enumerate(self._stepped.values()):
                reach = np.exp(log_probs[column]).cumsum()
                action = min(int(np.searchsorted(reach, draws[step, column] * reach[-1], side="right")), len(reach) - 1)
                reward, final = one.step(action)
                if final is not None:  # cut off by a time limit: what was to come is the value of where it stood
                    reward += self._config.gamma * float(self._policy(final[None])[1][0])
                row = (action, log_probs[column, action], reward, values[column], one.began)
                for name, value in zip(scalars, row, strict=True):
                    kept[name][step, column] = value
        last = self._policy(np.stack([one.observation for one in self._stepped.values()]))[1]
        gained = advantages(kept, last, self._config.gamma, self._config.gae_lambda)
        return {
            "observations": np.stack(seen).astype(np.float32),
            "actions": kept["actions"],
            "log_probs": kept["log_probs"],
            "returns": gained + kept["values"],
            "advantages": self._standardised(gained),
        }

    def _policy(self, observations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with torch.inference_mode():
            logits, values = policy_of(self._model, torch.from_numpy(observations.astype(np.float32)).to(self._device))
        return logits.cpu().numpy().astype(np.float64), values.cpu().numpy()

    def _standardised(self, gained: np.ndarray) -> np.ndarray:
        sums = torch.tensor([gained.sum(dtype=np.float64), np.square(gained, dtype=np.float64).sum(), gained.size])
        total, squares, count = self._world.start_sum(sums.double(), "advantages").wait().tolist()
        mean = total / count
        spread = max(0.0, squares / count - mean**2) ** 0.5
        standardised: np.ndarray = ((gained - mean) / (spread + 1e-8)).astype(np.float32)
        return standardised

    def _batch(self, steps: np.ndarray, columns: np.ndarray) -> Batch:
        batch = {name: torch.from_numpy(array[steps, columns]) for name, array in self._rollout.items()}
        return batch | {"actions": batch["actions"].long()}


def _check(config: Config, environments: int, workers: int, batch: int, epochs: int | None) -> None:
    if epochs is not None:
        raise RecipeError("train.epochs: environments have no end to count epochs by; use train.max_steps")
    if environments % workers:
        below = environments // workers * workers
        raise RecipeError(
            f"data.environments = {environments}: not a multiple of {workers} workers; use "
            + " or ".join(f"data.environments={count}" for count in (below, below + workers) if count)
        )
    steps = max(1, batch // environments)
    if batch % environments or config.rollout_steps % steps:
        divisors = [d for d in range(1, config.rollout_steps + 1) if config.rollout_steps % d == 0]
        nearest = min(divisors, key=lambda d: abs(d - steps))
        raise RecipeError(
            f"train.global_batch_size = {batch}: must be {environments} environments times a divisor of "
            f"task.rollout_steps {config.rollout_steps}, such as {environments * nearest}"
        )
