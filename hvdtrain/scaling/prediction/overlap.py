"""One step's communication beside its backward pass: when the engine has the last gradient, and what it delays.

Backward makes the gradients one after the other. Horovod's engine wakes every cycle; it takes the gradients that all
workers have by then, which the workers find out by an all-reduce of a few bits, packs them into buffers and reduces
these one after the other; the next cycle begins a cycle time after this one did, or when its work is done (RunLoopOnce
and FuseResponses of Horovod 0.28.1). What is not in at the end of backward is *exposed*: the step waits for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

PHASES_OF_THE_CYCLE = 16
"""A step begins at any moment of the engine's cycle: it is simulated for as many, evenly spread, and averaged."""

_ROUNDING = 1e-9


@dataclass(frozen=True)
class Gradient:
    """A tensor for the engine: its bytes on the wire, the seconds of backward after which it is ready, and its type;
    tensors of different types never share a buffer.
    """

    bytes: int
    ready: float
    dtype: str = "float32"


@dataclass(frozen=True)
class Engine:
    """Horovod's knobs: seconds a cycle, bytes a fusion buffer (0: each tensor alone), groups that are ready together.

    `polling` are seconds that the training loses to each cycle of an engine with nothing to do.
    """

    cycle: float
    fusion_bytes: float
    groups: int | None = None
    polling: float = 0.0


@dataclass(frozen=True)
class Cores:
    """What a worker may compute on: its share of the host's cores, the threads of backward, and the cores that the
    engine's threads keep busy while an all-reduce is under way; or what they do to each other as it was `measured`.
    """

    share: float
    threads: float
    engine: float
    measured: tuple[float, float] | None = None

    def rates(self) -> tuple[float, float]:
        """Return the speeds of backward and of the engine while both run, 1 being each one's speed alone.

        Both get what a fair scheduler gives: the engine what it asks for, up to its threads' part of the share, which
        is all of it where cores are enough; backward the rest, up to its threads.
        """
        if self.measured is not None:
            return self.measured
        computing = min(self.threads, self.share)
        if self.engine <= 0 or computing <= 0:
            return 1.0, 1.0
        running = max(1, math.ceil(self.engine))
        fair = self.share * running / (self.threads + running)
        given = min(self.engine, fair)
        return min(1.0, (self.share - given) / computing), min(1.0, given / self.engine)


NO_CONTEST = Cores(share=math.inf, threads=1.0, engine=0.0)
"""Backward and communication do not meet, as on a GPU, whose engine runs on a stream of its own."""


@dataclass(frozen=True)
class Timeline:
    """Seconds after the beginning of backward: its end, and the last result. `working` are those of the engine at work,
    `buffers` what it reduced, `cycles` those in which it had something to reduce.
    """

    backward: float
    last: float
    working: float
    buffers: float
    cycles: float

    @property
    def exposed(self) -> float:
        """Seconds that the step waits for the engine after backward."""
        return max(0.0, self.last - self.backward)


NOTHING_SENT = Timeline(backward=0.0, last=0.0, working=0.0, buffers=0.0, cycles=0.0)
"""The engine's part in the step of a worker that has nobody to synchronise with."""

BufferCost = Callable[[float, int], float]
"""Seconds to reduce a buffer of so many bytes that holds so many tensors, nothing else running."""


@dataclass
class _Clock:
    """Time, and how far backward is: at full speed beside an idle engine, slower beside one at work."""

    backward: float
    speeds: tuple[float, float]
    now: float = 0.0
    done: float = 0.0
    ended: float | None = None

    def idle_until(self, moment: float) -> None:
        self._advance(moment - self.now, 1.0)

    def work(self, seconds: float) -> None:
        """Let the engine do what takes so long at its full speed, which it has when backward is over."""
        compute, engine = self.speeds
        if self.ended is None:
            beside = min(seconds, (self.backward - self.done) / compute * engine) if compute > 0 else seconds
            self._advance(beside / engine, compute)
            seconds -= beside
        if seconds > 0:
            self._advance(seconds, 1.0)

    def _advance(self, seconds: float, speed: float) -> None:
        if self.ended is None and self.done + seconds * speed >= self.backward * (1 - 1e-12):
            self.ended = self.now + ((self.backward - self.done) / speed if speed > 0 else 0.0)
        self.done = min(self.backward, self.done + seconds * speed)
        self.now += seconds


def simulate(
    gradients: Sequence[Gradient],
    backward: float,
    engine: Engine,
    cost: BufferCost,
    *,
    negotiation: float = 0.0,
    cores: Cores = NO_CONTEST,
    phase: float = 0.0,
) -> Timeline:
    """Simulate one backward pass, event by event.

    Args:
        gradients: in the order in which backward makes them.
        backward: seconds of the pass without communication.
        engine: its knobs.
        cost: of one buffer.
        negotiation: seconds that each cycle with work takes before its first buffer.
        cores: what backward and engine share.
        phase: the part of a cycle, 0 to 1, that passes before the first one begins.
    """
    waiting = sorted(grouped(gradients, engine.groups), key=lambda g: g.ready)
    clock = _Clock(backward, cores.rates())
    working = last = 0.0
    buffers = cycles = first = 0
    wake = phase * engine.cycle
    while first < len(waiting):
        clock.idle_until(wake)
        until = first
        while until < len(waiting) and (clock.ended is not None or waiting[until].ready <= clock.done + _ROUNDING):
            until += 1
        if until == first:
            wake = _next_with_work(clock, waiting[first].ready, engine.cycle)
            continue
        packed = pack(waiting[first:until], engine.fusion_bytes)
        began = clock.now
        clock.work(negotiation + sum(cost(sum(g.bytes for g in one), len(one)) for one in packed))
        last, working = clock.now, working + clock.now - began
        buffers, cycles, first = buffers + len(packed), cycles + 1, until
        wake = max(began + engine.cycle, clock.now)
    if clock.ended is None:
        clock.idle_until(clock.now + backward - clock.done)
    return Timeline(clock.ended if clock.ended is not None else backward, last, working, buffers, cycles)


def _next_with_work(clock: _Clock, ready: float, cycle: float) -> float:
    """Return when the engine wakes first with something to do; it is idle until then."""
    left = max(0.0, min(ready, clock.backward) - clock.done)
    return clock.now + max(1, math.ceil((left - _ROUNDING) / cycle)) * cycle if cycle > 0 else clock.now + left


def average(
    gradients: Sequence[Gradient],
    backward: float,
    engine: Engine,
    cost: BufferCost,
    *,
    negotiation: float = 0.0,
    cores: Cores = NO_CONTEST,
) -> Timeline:
    """Return the mean of `simulate` over the moments of the cycle at which a step may begin.

    `last` is such that `exposed` is the mean wait.
    """
    found = [
        simulate(gradients, backward, engine, cost, negotiation=negotiation, cores=cores, phase=phase)
        for phase in ((i + 0.5) / PHASES_OF_THE_CYCLE for i in range(PHASES_OF_THE_CYCLE))
    ]
    ended = fmean(one.backward for one in found)
    return Timeline(
        ended,
        ended + fmean(one.last - one.backward if one.exposed else 0.0 for one in found),
        *(fmean(getattr(one, name) for one in found) for name in ("working", "buffers", "cycles")),
    )


def pack(ready: Sequence[Gradient], fusion_bytes: float) -> list[list[Gradient]]:
    """Return the buffers for tensors that are ready together, as Horovod's FuseResponses packs them.

    A buffer takes the tensors in their order until the next would exceed the threshold; those of another type are
    passed over, and begin a buffer of their own, while they and the buffer together stay below it.
    """
    left, buffers = list(ready), []
    while left:
        buffer, skipped, size, passed_over = [left[0]], [], left[0].bytes, 0
        rest = left[1:]
        while rest:
            if rest[0].dtype == buffer[0].dtype and size + rest[0].bytes <= fusion_bytes:
                size += rest[0].bytes
                buffer.append(rest.pop(0))
                continue
            passed_over += rest[0].bytes
            if size + passed_over > fusion_bytes:
                break
            skipped.append(rest.pop(0))
        buffers.append(buffer)
        left = skipped + rest
    return buffers


def grouped(gradients: Sequence[Gradient], groups: int | None) -> list[Gradient]:
    """Return the gradients with the times at which their groups are complete.

    Horovod cuts the parameters into `groups` parts of about equal number, in the model's order, which is backward's
    reversed.
    """
    if groups is None:
        return list(gradients)
    trained = [g for g in gradients if g.dtype != TOTALS.dtype]
    found = [g for g in gradients if g.dtype == TOTALS.dtype]
    each, over = divmod(len(trained), groups)
    backwards = trained[::-1]
    for i in range(groups):
        part = backwards[i * each + min(i, over) : (i + 1) * each + min(i + 1, over)]
        found += [Gradient(g.bytes, max(one.ready for one in part), g.dtype) for g in part]
    return found


TOTALS = Gradient(bytes=32, ready=0.0, dtype="float64")
"""The loop's own vector of sums (loss, targets, samples, stop), which travels beside the gradients."""
