"""Tuning: short interleaved trials of the engine's knobs, and the best of them tried again until it is sure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from statistics import median

from hvdtrain.errors import HvdtrainError, RunError, UserError
from hvdtrain.scaling.sweep.analysis import throughput
from hvdtrain.scaling.trial import Place, Task, run_trial
from hvdtrain.scaling.tuning.candidates import Candidate, together

PROMISING = 1.01
"""A candidate that does less than this times the recipe's throughput in its first trial is not joined with others."""
_FINALISTS = 3

Tell = Callable[["Tried"], None]


@dataclass
class Tried:
    """A candidate, and what it does a second, in `unit`, in each of its trials; or why it failed."""

    candidate: Candidate
    rates: list[float] = field(default_factory=list)
    error: str | None = None
    unit: str = "tokens"

    @property
    def rate(self) -> float:
        """The median; 0 where it failed."""
        return median(self.rates) if self.rates and self.error is None else 0.0


@dataclass(frozen=True)
class Tuning:
    """The search: `rounds` are the launches that each finalist gets after the first, all of them interleaved."""

    task: Task
    workers: int
    place: Place
    rounds: int

    def run(self, changes: Sequence[Candidate], tell: Tell) -> list[Tried]:
        """Try the recipe as it stands, each single change, what helped together, then the best again and again.

        Returns:
            All that was tried, the finalists first and among them the fastest; the recipe as it stands is one of them.

        Raises:
            UserError: the recipe as it stands can't run here.
            RunError: it failed.
            Stopped: a signal ended it.
        """
        stands = Tried(Candidate())
        tried = [stands, *(Tried(candidate) for candidate in changes)]
        for one in tried:
            self._try(one, tell)
            if stands.error is not None:
                raise RunError(f"the recipe as it stands failed: {stands.error}")
        joined = together([one.candidate for one in self._promising(stands, tried)])
        if joined is not None:
            tried.append(Tried(joined))
            self._try(tried[-1], tell)
        best = sorted((one for one in tried if one.rate and one is not stands), key=lambda one: -one.rate)
        finalists = [stands, *best[:_FINALISTS]]
        for number in range(self.rounds):
            for one in finalists if number % 2 else reversed(finalists):
                self._try(one, tell)
        finalists.sort(key=lambda one: -one.rate)
        return finalists + sorted((one for one in tried if one not in finalists), key=lambda one: -one.rate)

    def _promising(self, stands: Tried, tried: Sequence[Tried]) -> list[Tried]:
        better = [one for one in tried if one.rate > PROMISING * stands.rate]
        return sorted(better, key=lambda one: -one.rate)

    def _try(self, one: Tried, tell: Tell) -> None:
        if one.error is not None:
            return
        task = replace(self.task, overrides=(*self.task.overrides, *one.candidate.overrides))
        place = replace(self.place, controller=one.candidate.controller or self.place.controller)
        try:
            records = run_trial(task, self.workers, place)
        except HvdtrainError as error:
            if one.candidate == Candidate() and not one.rates and isinstance(error, UserError):
                raise
            one.error = str(error)
        else:
            one.rates.append(throughput(records)[1])
            one.unit = records[0].unit
        tell(one)


def sure(best: Tried, stands: Tried) -> bool:
    """Return whether the best is better beyond doubt: its slowest trial beats the recipe's fastest."""
    return best is not stands and len(best.rates) > 1 and min(best.rates) > max(stands.rates)
