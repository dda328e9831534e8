"""Where a step's time goes: the arithmetic over the durations that each worker measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from hvdtrain.metrics.records import PHASES

StepTimes = Mapping[str, float]
"""One worker's durations of one step in seconds: "step", "data", "forward", "backward", "wait" (in synchronize),
"optimizer", and "busy": the time between the end of the previous synchronisation and the call of this one."""


def split(workers: Sequence[Sequence[StepTimes]]) -> dict[str, float]:
    """Return the mean step, over workers and steps, split into `PHASES`.

    The imbalance of a worker is the largest busy time of any worker less its own, as durations since the last common
    synchronisation, never clocks of two hosts; the exposed communication is its wait less the imbalance. `other` is
    what no part claims, so that the parts sum to the step.

    Args:
        workers: for each worker its times of the same steps.
    """
    parts: dict[str, list[float]] = {name: [] for name in ("step", *PHASES)}
    for times in zip(*workers, strict=True):
        slowest = max(one["busy"] for one in times)
        for one in times:
            imbalance = min(one["wait"], slowest - one["busy"])
            known = {name: one[name] for name in ("data", "forward", "backward", "optimizer")}
            known |= {"imbalance": imbalance, "communication": one["wait"] - imbalance}
            known["other"] = one["step"] - sum(known.values())
            for name, seconds in known.items():
                parts[name].append(seconds)
            parts["step"].append(one["step"])
    return {name: fmean(values) if values else 0.0 for name, values in parts.items()}


def bus_bandwidth(size_bytes: float, seconds: float, workers: int) -> float:
    """Return the all-reduce bus bandwidth in bytes a second: bytes / time x 2(n-1)/n, what each link carries in a
    ring.
    """
    return size_bytes / seconds * 2 * (workers - 1) / workers
