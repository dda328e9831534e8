"""A block of training steps that all workers begin together, timed and accounted for."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from hvdtrain.scaling.worker.probes import busy_seconds

if TYPE_CHECKING:
    from hvdtrain.metrics.timing import StepTimes
    from hvdtrain.train.assemble import Assembly
    from hvdtrain.world import World

_MOST_STEPS = 200


class Block:
    """Steps of a run. `usage` are the seconds over them: "wall", "own" and "machine" as in `TrialRecord.processor`."""

    def __init__(self, run: Assembly, world: World, warmup: int) -> None:
        self._loop = run.loop
        self._world = world
        self._warmup = warmup
        self.usage: dict[str, float] = {}

    def steps(self, least: int, seconds: float) -> list[StepTimes]:
        """Run some steps to warm up, then `least` or as many as fill the seconds; return the times of the latter."""
        updates = self._loop.updates()
        self._world.gather(None)
        began = time.perf_counter()
        for _ in range(self._warmup):
            next(updates)
        # Every worker does as many as the fastest needs.
        pace = min(self._world.gather((time.perf_counter() - began) / max(1, self._warmup)))
        count = max(least, min(_MOST_STEPS, math.ceil(seconds / pace)))
        before = _now()
        for _ in range(count):
            next(updates)
        self._loop.stopwatch.pause()
        self.usage = {name: value - before[name] for name, value in _now().items()}
        # Tenths of a microsecond are enough, and records of many workers have to fit through a pipe.
        return [{part: round(s, 7) for part, s in step.items()} for step in self._loop.stopwatch.drain()[-count:]]


def _now() -> dict[str, float]:
    return {"wall": time.perf_counter(), "own": time.process_time(), "machine": busy_seconds()}
