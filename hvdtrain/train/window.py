"""The updates between two log lines, gathered from all workers into one record."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from hvdtrain.metrics.records import StepRecord
from hvdtrain.metrics.timing import split
from hvdtrain.train.device import memory_bytes

if TYPE_CHECKING:
    from hvdtrain.train.loop import Loop, Update
    from hvdtrain.world import World


@dataclass
class Counts:
    """Samples and valid targets that all workers trained on, since the start of training."""

    samples: int = 0
    targets: int = 0


class Window:
    """Collects updates; `close` makes the record of them.

    The rates are the samples and tokens of all workers in the window over its wall time, the slowest worker's: all of
    it but evaluations, samples and checkpoints, so that what hvdtrain itself costs is in it. Losses of workers that
    are not coupled are the mean of theirs, and so are counts, of which each takes its own share for everyone's.
    """

    def __init__(self, world: World, loop: Loop) -> None:
        self._world = world
        self._loop = loop
        self._updates: list[Update] = []
        self._began = self._since = time.perf_counter()
        self._left_out = 0.0
        self.counts = Counts()

    def open(self) -> None:
        """Begin to count time."""
        self._began = self._since = time.perf_counter()

    def restart(self) -> None:
        """Forget the updates since the last record: a rollback has undone them."""
        self._updates = []
        self._loop.stopwatch.pause()
        self._loop.stopwatch.drain()
        self._since, self._left_out = time.perf_counter(), 0.0

    def leave_out(self, seconds: float) -> None:
        """Take time that was not training's out of this window."""
        self._left_out += seconds

    def add(self, update: Update) -> None:
        self._updates.append(update)
        self.counts.samples += update.samples
        self.counts.targets += update.targets

    def close(self) -> tuple[StepRecord, list[tuple[int, str]], bool]:
        """Return the record of the updates since the last one, the step and cause of those that any worker skipped, and
        whether any was asked to stop.
        """
        now = time.perf_counter()
        wall, self._since, self._left_out = now - self._since - self._left_out, now, 0.0
        device, interrupt = self._loop.device, self._loop.interrupt
        updates, self._updates = self._updates, []
        good = [update for update in updates if not update.skipped] or updates
        loss, losses = fmean(update.loss for update in good), _means([update.losses for update in good])
        seen = Counts(sum(update.samples for update in updates), sum(update.targets for update in updates))
        mine = [wall, self._loop.stopwatch.drain(), memory_bytes(device), interrupt.requested]
        skipped = [(update.step, update.skipped) for update in updates if update.skipped]
        everyone = self._world.gather([*mine, loss, losses, seen.samples, seen.targets, skipped])
        walls, times, memory, stops, all_loss, all_losses, samples, targets, skips = zip(*everyone, strict=True)
        wall = max(walls)
        if not self._loop.coupled:
            loss, losses = fmean(all_loss), {name: fmean(one[name] for one in all_losses) for name in losses}
            seen = self._corrected(seen, Counts(round(fmean(samples)), round(fmean(targets))))
        record = StepRecord(
            step=self._loop.step,
            loss=loss,
            lr=updates[-1].lr,
            grad_norm=updates[-1].grad_norm,
            samples=self.counts.samples,
            tokens=self.counts.targets,
            samples_per_second=seen.samples / wall,
            tokens_per_second=seen.targets / wall,
            world_size=self._world.size,
            servers=self._loop.servers,
            seconds=split(times[: self._loop.training_workers]),
            memory_bytes=max(memory),
            elapsed=time.perf_counter() - self._began,
            losses=losses,
        )
        problems = sorted({(int(step), str(why)) for one in skips for step, why in one})
        return record, problems, any(stops)

    def total(self) -> Counts:
        """Return what all workers trained on so far, in the middle of a window too; they call it together."""
        if self._loop.coupled:
            return self.counts
        mine = [sum(update.samples for update in self._updates), sum(update.targets for update in self._updates)]
        true = [round(fmean(column)) for column in zip(*self._world.gather(mine), strict=True)]
        return Counts(self.counts.samples + true[0] - mine[0], self.counts.targets + true[1] - mine[1])

    def _corrected(self, counted: Counts, true: Counts) -> Counts:
        """Put the true counts of a window into the sums in place of those that were added, and return them."""
        self.counts.samples += true.samples - counted.samples
        self.counts.targets += true.targets - counted.targets
        return true


def _means(losses: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean loss of each phase; nothing where there is one phase, whose loss is the update's."""
    names = losses[0] if len(losses[0]) > 1 else ()
    return {name: fmean(one[name] for one in losses) for name in names}
