"""From what workers measured to what a prediction needs of them: compute times, gradients, engine, software."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, median

from hvdtrain.metrics.records import TrialRecord
from hvdtrain.scaling.prediction.allreduce_cost import Fit, Software, fit_ring
from hvdtrain.scaling.prediction.model import StepProfile, Workload
from hvdtrain.scaling.prediction.overlap import Engine, Gradient

_PARTS = ("data", "forward", "backward", "optimizer")


@dataclass(frozen=True)
class Measured:
    """A workload with what was fitted, or the reason why nothing was."""

    work: Workload
    fit: Fit | None
    reason: str


def calibrate(records: Sequence[TrialRecord], compression: str = "none", groups: int | None = None) -> Measured:
    """Return what the workers of one trial, by rank, tell a prediction.

    Where the links can't be fitted the software's constants are 0 but for the measured cost of summing.
    """
    first = records[0]
    reduce = median(one.reduce_seconds_per_byte or 0.0 for one in records)
    wait = cycle_wait(records)
    fit = fit_ring(_rows(records), first.world_size, reduce, wait)
    software = Software(reduce=reduce, processor=processor_per_byte(records), beside=beside(records))
    if isinstance(fit, Fit):
        software = replace(software, latency=fit.latency, seconds_per_byte=fit.seconds_per_byte)
    work = Workload(
        profile=profile(records),
        gradients=gradients(records, compression),
        engine=engine(records, groups),
        software=software,
        tokens=first.tokens / first.world_size,
        samples=first.samples / first.world_size,
        threads=first.threads if first.device == "CPU" else None,
    )
    return Measured(work, fit if isinstance(fit, Fit) else None, "" if isinstance(fit, Fit) else fit)


def profile(records: Sequence[TrialRecord]) -> StepProfile:
    """Return the median unsynchronised step of the mean worker, cut as the medians of its parts are to each other."""
    parts = {part: fmean(_median(one.floor, part) for one in records) for part in _PARTS}
    parts["other"] = fmean(
        max(0.0, median(times["step"] - sum(times[part] for part in _PARTS) for times in one.floor)) for one in records
    )
    step = fmean(_median(one.floor, "step") for one in records)
    factor = step / sum(parts.values())
    # Against the mean worker, not each against itself: a worker that is always slow makes all others wait.
    spread = tuple(times["step"] - step for one in records for times in one.floor)
    return StepProfile(
        **{part: seconds * factor for part, seconds in parts.items()},
        passes=records[0].gradient_accumulation_steps,
        spread=spread,
    )


def gradients(records: Sequence[TrialRecord], compression: str = "none") -> tuple[Gradient, ...]:
    """Return the gradients in backward's order, with the mean worker's times; fp16 compression halves their bytes."""
    times = [{name: seconds for _, seconds, name in one.gradients} for one in records if one.gradients]
    width = 0.5 if compression == "fp16" else 1.0
    dtype = "float16" if compression == "fp16" else "float32"
    found = [
        Gradient(int(size * width), fmean(one[name] for one in times if name in one), dtype)
        for size, _, name in records[0].gradients
    ]
    return tuple(sorted(found, key=lambda gradient: gradient.ready))


def engine(records: Sequence[TrialRecord], groups: int | None = None) -> Engine:
    """Return the engine's knobs, and what a cycle with nothing to do costs: steps beside an idle engine take longer.

    Such a cycle asks the others what they have, as the luckiest tiny all-reduce does too: it costs no more than that,
    whatever a few noisy steps say.
    """
    found = engine_of(records[0].engine, groups)
    polling = 0.0
    if all(one.idle for one in records):
        floor = fmean(_median(one.floor, "step") for one in records)
        idle = fmean(_median(one.idle, "step") for one in records)
        polling = max(0.0, idle / floor - 1) * found.cycle
        polling = min(polling, *(min(one.latencies) for one in records if one.latencies), found.cycle)
    return replace(found, polling=polling)


def engine_of(knobs: Mapping[str, str], groups: int | None = None) -> Engine:
    """Return the engine of its environment variables; what is not set has Horovod's own default."""
    cycle = number(knobs, "HOROVOD_CYCLE_TIME", 1.0) / 1000
    return Engine(cycle, number(knobs, "HOROVOD_FUSION_THRESHOLD", 128 * 2**20), groups)


def number(knobs: Mapping[str, str], name: str, default: float) -> float:
    """Return the value of a knob such as `"20 (auto)"`."""
    return float(knobs[name].split()[0]) if name in knobs else default


def cycle_wait(records: Sequence[TrialRecord]) -> float:
    """Return the seconds of each measured all-reduce that went by before the engine's next cycle.

    All of them begin at the same moment of the cycle, right after a collective; the luckiest of the tiny ones that
    begin at random moments waits for nothing.
    """
    first = records[0]
    if not first.allreduce or not first.latencies:
        return 0.0
    return max(0.0, min(seconds for _, seconds in first.allreduce) - min(first.latencies))


def processor_per_byte(records: Sequence[TrialRecord]) -> float:
    """Return the processor seconds that a worker's all-reduce takes for each byte; 0 where that was not measured.

    All that the machine did is in it: the kernel moves packets on the time of whoever runs.
    """
    found = [(one.allreduce_processor, one.allreduce[-1][0]) for one in records if one.allreduce]
    if records[0].device != "CPU" or not found:
        return 0.0
    return fmean((seconds or 0.0) / size for seconds, size in found)


def beside(records: Sequence[TrialRecord]) -> tuple[float, float] | None:
    """Return the speeds that the mean worker's backward and its all-reduces keep beside each other."""
    found = [one.beside for one in records if one.beside is not None]
    if records[0].device != "CPU" or not found:
        return None
    return fmean(computing for computing, _ in found), fmean(reducing for _, reducing in found)


def _rows(records: Sequence[TrialRecord]) -> list[tuple[float, float]]:
    """An all-reduce is over when the last worker has it: the mean worker's time, as all begin together."""
    each = zip(*(one.allreduce for one in records), strict=False)
    return [(rows[0][0], fmean(seconds for _, seconds in rows)) for rows in each]


def _median(steps: Sequence[Mapping[str, float]], part: str) -> float:
    return float(median(step[part] for step in steps))
