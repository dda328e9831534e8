"""What a step of n workers loses, part by part, against one worker alone: the arithmetic under the diagnosis.

    step = base + data + contention + slow worker + polling + engine + exposed communication

`base` is the step of one worker alone without its data; where the batch is shared out, the n-th part of its forward and
backward, and the rest whole, of which (n-1)/n is `unshared`: work that every worker repeats. `contention` is what the
fastest of n workers that do not synchronise takes longer, `slow worker` what the one that is the slowest in most
launches takes longer than the fastest. With synchronisation, the busy time of the slowest worker grows further: by what
the engine's polling takes (`polling`, seen in steps beside an engine that has nothing to do) and by its work
(`engine`). The rest is waiting. Every time is a median over steps, and every part a median over launches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

from hvdtrain.metrics.records import TrialRecord
from hvdtrain.metrics.study import Mode


@dataclass(frozen=True)
class Losses:
    """Seconds of one step, and what the diagnosis has to know beside them.

    `slowest` is the rank that is slowest on its own, `parts` its data, forward, backward and optimizer seconds and
    `others` the medians of the others'. `cycle_wait` is the wait for the engine's next cycle, `per_tensor` what the
    gradients' own tensors take longer than one buffer of as many bytes, `on_the_wire` what the link takes for them.
    `foreign` is the share of the host's cores that other programs took, the larger of the blocks with and without
    synchronisation, and `taken` the seconds of a step that they took from workers that need every core, less what
    shows as one slow worker.
    """

    mode: Mode
    workers: int
    hosts: int
    step: float
    base: float
    unshared: float
    data: float
    contention: float
    slow_worker: float
    slowest: int
    slowest_host: str
    slowest_cpu: float
    parts: dict[str, float]
    others: dict[str, float]
    polling: float
    engine: float
    exposed: float
    cycle: float
    cycle_wait: float
    per_tensor: float
    on_the_wire: float
    latency: float
    volume: int
    tensors: int
    fusion_bytes: float
    micro_batch_size: int
    passes: int
    compression: str
    threads: int
    cores: int
    local_size: int
    foreign: float
    taken: float
    controller: str
    on_gpu: bool


_PARTS = ("data", "forward", "backward", "optimizer")


def losses(mode: Mode, launches: Sequence[Sequence[TrialRecord]], alone: Sequence[Sequence[TrialRecord]]) -> Losses:
    """Return the losses of one size.

    Args:
        mode: whether each worker does what one does alone, or its share of it.
        launches: of the size, each with its workers' records by rank.
        alone: the launches of one worker.
    """
    one = {part: median(_median(workers[0].floor, part) for workers in alone) for part in ("step", *_PARTS)}
    shared = one["forward"] + one["backward"]
    rest = one["step"] - one["data"] - shared
    n = len(launches[0])
    base, unshared = (shared + rest, 0.0) if mode == "weak" else (shared / n + rest, rest * (n - 1) / n)
    # A worker is slow if it is so in most launches: in each, some worker is the slowest by chance.
    alone_times = [[_median(one.floor, "step") for one in workers] for workers in launches]
    slowest = max(range(n), key=lambda rank: median(times[rank] for times in alone_times))
    each = [_of_launch(mode, workers, slowest, base, unshared) for workers in launches]
    typical = each[sorted(range(len(each)), key=lambda i: each[i].step)[len(each) // 2]]
    numbers = {
        name: median(getattr(found, name) for found in each)
        for name, value in vars(typical).items()
        if isinstance(value, float)
    }
    return Losses(**vars(typical) | numbers)


def _of_launch(mode: Mode, workers: Sequence[TrialRecord], slowest: int, base: float, unshared: float) -> Losses:
    floor = [_median(one.floor, "step") - _median(one.floor, "data") for one in workers]
    with_data = [_median(one.floor, "step") for one in workers]
    step = fmean(_median(one.synchronised, "step") for one in workers)
    busy = median(max(times) for times in zip(*([s["busy"] for s in one.synchronised] for one in workers)))  # noqa: B905
    slowed = max(0.0, busy - max(with_data))
    idle = [_median(one.idle, "step") for one in workers if one.idle] or with_data
    polling = min(slowed, max(0.0, max(idle) - max(with_data)))
    slow_worker = with_data[slowest] - min(with_data)
    return Losses(
        mode=mode,
        step=step,
        base=base,
        unshared=unshared,
        data=min(_median(one.synchronised, "data") for one in workers),
        contention=max(0.0, min(floor) - base),
        slow_worker=slow_worker,
        polling=polling,
        engine=slowed - polling,
        exposed=max(0.0, step - busy),
        foreign=max(foreign(workers), foreign(workers, "synchronised")),
        taken=_taken(workers, step, slow_worker),
        **_slowest(workers, slowest),
        **_engine(workers[0]),
        **_place(workers),
    )


def _slowest(workers: Sequence[TrialRecord], rank: int) -> dict[str, Any]:
    """Return who the slowest worker is, and where its step differs from the others'."""
    others = [one for one in workers if one.rank != rank]
    return {
        "slowest": rank,
        "slowest_host": workers[rank].host,
        "slowest_cpu": _processor(workers[rank], "floor", "own"),
        "parts": {part: _median(workers[rank].floor, part) for part in _PARTS},
        "others": {part: median(_median(one.floor, part) for one in others) for part in _PARTS},
    }


def _engine(first: TrialRecord) -> dict[str, Any]:
    """Return the engine's knobs and what plain all-reduces through it take."""
    cycle = float(first.engine.get("HOROVOD_CYCLE_TIME", "0").split()[0]) / 1000
    single, separate = first.one_buffer_seconds or 0.0, first.allreduce_seconds or 0.0
    tiny = first.allreduce[0][1] if first.allreduce else 0.0
    return {
        "cycle": cycle,
        "cycle_wait": min(cycle / 2, fmean(first.latencies) if first.latencies else cycle / 2),
        "per_tensor": max(0.0, separate - single),
        "on_the_wire": max(0.0, single - tiny),
        "latency": min(first.latencies, default=0.0),
        "volume": first.bytes_per_step,
        "tensors": first.tensors,
        "fusion_bytes": float(first.engine.get("HOROVOD_FUSION_THRESHOLD", "0").split()[0]),
        "compression": first.compression,
        "controller": first.controller,
    }


def _place(workers: Sequence[TrialRecord]) -> dict[str, Any]:
    """Return where the workers run, and what each does."""
    first = workers[0]
    return {
        "workers": len(workers),
        "hosts": len({one.host for one in workers}),
        "micro_batch_size": first.micro_batch_size,
        "passes": first.gradient_accumulation_steps,
        "threads": first.threads,
        "cores": first.cores,
        "local_size": max(one.local_size for one in workers),
        "on_gpu": first.device != "CPU",
    }


def _taken(workers: Sequence[TrialRecord], step: float, slow_worker: float) -> float:
    """Time that others take is lost only where no core would be idle.

    In a container with a part of the machine's cores nobody knows which cores the others use.
    """
    first = workers[0]
    here = [one for one in workers if one.machine == first.machine]
    ours = sum({one.host: one.cores for one in here}.values())
    if len(here) * first.threads < first.machine_cores or ours < first.machine_cores:
        return 0.0
    return max(0.0, step * min(0.9, foreign(workers, "synchronised")) - slow_worker)


def _median(steps: Sequence[Mapping[str, float]], part: str) -> float:
    return float(median(step[part] for step in steps))


def _processor(one: TrialRecord, block: str, what: str) -> float:
    """Return the processor seconds a second over a block."""
    usage = one.processor.get(block)
    return usage[what] / usage["wall"] if usage and usage["wall"] else 0.0


def foreign(workers: Sequence[TrialRecord], block: str = "floor") -> float:
    """Return the largest share of any machine's cores that was busy with none of these workers, over a block."""
    shares = []
    for machine in {one.machine for one in workers}:
        here = [one for one in workers if one.machine == machine]
        busy = fmean(_processor(one, block, "machine") for one in here)
        shares.append(max(0.0, busy - sum(_processor(one, block, "own") for one in here)) / here[0].machine_cores)
    return max(shares)
