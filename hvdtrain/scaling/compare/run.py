"""The runs of a comparison: each strategy once in every round, one launch after the other."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field

from hvdtrain.errors import HvdtrainError, UserError
from hvdtrain.metrics.strategies import FLOOR, StrategyRecord
from hvdtrain.scaling.compare.plan import NOTHING, Choice, order
from hvdtrain.scaling.trial import Place, Stopped, collect


@dataclass(frozen=True)
class StrategyTask:
    """What each worker does: `steps` updates of a recipe, the first `warmup` of them not timed, then a validation."""

    recipe: str
    overrides: tuple[str, ...]
    steps: int
    warmup: int


@dataclass
class Runs:
    """What there is of a comparison. `done` holds by strategy and round what each worker measured; `refused` why a
    strategy can't run here, `failed` why one broke off; `stopped` is the exit code where a signal ended it.
    """

    done: dict[str, dict[int, list[StrategyRecord]]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    stopped: int | None = None


@dataclass(frozen=True)
class Compare:
    """A comparison to be made: `task` without a strategy, on so many workers."""

    task: StrategyTask
    choices: Sequence[Choice]
    workers: int
    place: Place
    rounds: int

    def run(self, refused: dict[str, str], tell: Callable[[int, str, Sequence[StrategyRecord] | str], None]) -> Runs:
        """Run what can be; a strategy that fails is left out from then on.

        Args:
            refused: why strategies can't run here: they are not tried.
            tell: called after each run with its round, its strategy, and what it measured or why it failed.

        Raises:
            HvdtrainError: the recipe fails although nothing is synchronised: there is nothing to compare with.
        """
        runs = Runs(refused=dict(refused))
        by_name = {str(one): one for one in (NOTHING, *self.choices)}
        try:
            for number, name in order([name for name in by_name if name not in refused], self.rounds):
                if name not in runs.refused and name not in runs.failed:
                    tell(number, name, self._try(runs, number, by_name[name]))
        except (Stopped, KeyboardInterrupt) as stop:
            runs.stopped = getattr(stop, "code", 130)
        return runs

    def _try(self, runs: Runs, number: int, choice: Choice) -> Sequence[StrategyRecord] | str:
        """Run a strategy once and keep what came of it; return that, or why it failed."""
        name = str(choice)
        try:
            records = self._launch(choice)
        except HvdtrainError as error:
            if name == FLOOR and not runs.done:
                raise
            # A worker refuses before it trains; what comes later is a run that broke off.
            (runs.refused if isinstance(error, UserError) else runs.failed)[name] = str(error)
            return str(error)
        runs.done.setdefault(name, {})[number] = records
        return records

    def _launch(self, choice: Choice) -> list[StrategyRecord]:
        task = StrategyTask(
            self.task.recipe, (*self.task.overrides, *choice.overrides), self.task.steps, self.task.warmup
        )
        arguments = ("trial", "--strategy", json.dumps(asdict(task)))
        return collect(StrategyRecord, arguments, task.recipe, self.workers, self.place)


def parse_strategy_task(text: str) -> StrategyTask:
    """Return the task that a comparison put on a worker's command line."""
    values = json.loads(text)
    return StrategyTask(**values | {"overrides": tuple(values["overrides"])})
