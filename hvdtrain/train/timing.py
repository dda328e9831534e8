"""The stopwatch of a step: what each part took on this worker."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import Any

import torch

from hvdtrain.metrics import activity

_AFTER = {
    "data": "forward",
    "forward": "backward",
    "backward": "forward or backward",
    "wait": "the optimizer",
    "optimizer": "the end of the step",
}
"""What comes after each part of a step."""


class Stopwatch:
    """Times the parts of steps. On a GPU it marks the stream with events, so that measuring waits for nothing.

    `start()` begins a step and ends the one before; `mark(part)` says that the time since the last call went into that
    part; `pause()` ends a step whose successor will begin later, after an evaluation or a checkpoint.
    """

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        self._steps: list[list[tuple[str, Any]]] = []
        self._open = False

    def _now(self) -> Any:
        if not self._on_gpu:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event

    def start(self) -> None:
        now = self._now()
        activity.begin("loading data")
        if self._open:
            self._steps[-1].append(("end", now))
        self._steps.append([("start", now)])
        self._open = True

    def mark(self, part: str) -> None:
        self._steps[-1].append((part, self._now()))
        activity.begin(_AFTER[part])

    def pause(self) -> None:
        if self._open:
            self._steps[-1].append(("end", self._now()))
        self._open = False

    def drain(self) -> list[dict[str, float]]:
        """Return the times of the steps finished since the last call, as `metrics.timing.StepTimes`."""
        if self._on_gpu:
            torch.cuda.synchronize()
        finished = [step for step in self._steps if step[-1][0] == "end"]
        self._steps = [step for step in self._steps if step[-1][0] != "end"]
        return [self._times(step, finished[i - 1] if i else None) for i, step in enumerate(finished)]

    def _times(self, step: list[tuple[str, Any]], previous: list[tuple[str, Any]] | None) -> dict[str, float]:
        times = dict.fromkeys(("data", "forward", "backward", "wait", "optimizer"), 0.0)
        for (_, before), (part, after) in pairwise(step):
            if part in times:
                times[part] += self._seconds(before, after)
        times["step"] = self._seconds(step[0][1], step[-1][1])
        times["busy"] = times["data"] + times["forward"] + times["backward"] + self._between_phases(step)
        follows = previous is not None and previous[-1][1] is step[0][1]
        if previous is not None and follows:
            times["busy"] += self._seconds(_stamp(previous, "wait"), previous[-1][1])
        return times

    def _between_phases(self, step: list[tuple[str, Any]]) -> float:
        """Return the time of the optimizers that came before the step's last synchronisation."""
        waits = [index for index, (part, _) in enumerate(step) if part == "wait"]
        last = waits[-1] if waits else 0
        pairs = pairwise(step[: last + 1])
        return sum(self._seconds(before, after) for (_, before), (part, after) in pairs if part == "optimizer")

    def _seconds(self, before: Any, after: Any) -> float:
        return float(before.elapsed_time(after) / 1000 if self._on_gpu else after - before)


def _stamp(step: list[tuple[str, Any]], part: str) -> Any:
    return next(stamp for name, stamp in reversed(step) if name == part)
