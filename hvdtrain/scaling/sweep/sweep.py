"""The sweep: one launch after the other, repeats interleaved, so that a drifting machine favours no size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from hvdtrain.errors import HvdtrainError, UserError
from hvdtrain.scaling.sweep.store import Store, Trial
from hvdtrain.scaling.trial import Place, Task, run_trial

if TYPE_CHECKING:
    from hvdtrain.scaling.sweep.plan import Size


class Watcher(Protocol):
    """Whoever shows how far a sweep is."""

    def begin(self, size: Size, repeat: int) -> None:
        """A trial is about to run."""
        ...

    def done(self, trial: Trial, size: Size) -> None:
        """A trial has ended, well or not."""
        ...


@dataclass(frozen=True)
class Sweep:
    """What to run: the trials of all sizes, `repeats` times over."""

    task: Task
    sizes: Sequence[Size]
    repeats: int
    place: Place

    def turns(self) -> Iterator[tuple[Size, int]]:
        """Yield every trial in its order: each repeat begins with the next size, so that none is always first."""
        for repeat in range(self.repeats):
            first = repeat % len(self.sizes)
            for size in (*self.sizes[first:], *self.sizes[:first]):
                yield size, repeat

    def own(self, trials: Sequence[Trial]) -> list[Trial]:
        """Return those of a store's trials that belong to this sweep, and not to one with more sizes or repeats."""
        keys = {size.key for size in self.sizes}
        return [trial for trial in trials if trial.key in keys and trial.repeat < self.repeats]

    def run(self, store: Store, watcher: Watcher) -> int:
        """Run what the store does not hold yet, and return how many trials that were. A size that fails is not tried
        again in this call.

        Raises:
            UserError: the first trial can't run for a reason that the user can mend, which every other would share.
            Stopped: a signal ended it; what was measured is in the store.
        """
        store.forget_failures()
        failed: set[str] = set()
        made = 0
        for size, repeat in self.turns():
            if size.key in failed or store.find(size.key, repeat):
                continue
            watcher.begin(size, repeat)
            trial = self._try(size, repeat, alone=not store.trials)
            if trial.error is not None:
                failed.add(size.key)
            store.add(trial)
            watcher.done(trial, size)
            made += 1
        return made

    def _try(self, size: Size, repeat: int, alone: bool) -> Trial:
        task = replace(self.task, overrides=(*self.task.overrides, *size.overrides))
        try:
            return Trial(size.key, repeat, tuple(run_trial(task, size.workers, self.place)))
        except HvdtrainError as error:
            if alone and isinstance(error, UserError):
                raise
            return Trial(size.key, repeat, error=str(error))
