"""A thread that ends this worker where it gets on with nothing, because a hang takes a cluster until somebody looks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from hvdtrain.errors import HangError, LostWorkerError, WaitError
from hvdtrain.metrics import activity
from hvdtrain.metrics.activity import Activity

BEAT = 1.0
"""Seconds between two signs of life."""


class Watchdog:
    """Watches `metrics.activity` for the time that it is used as a context.

    It can't tell a slow collective from one that never ends, nor see other workers: where this one waits, the culprit
    is another, which says what it is stuck in by itself, or nothing where it was stopped or its host is gone.
    """

    def __init__(
        self,
        timeout: float | None,
        *,
        step: Callable[[], int],
        beat: Callable[[int, Activity, float], None],
        give_up: Callable[[HangError | LostWorkerError], Any],
        waits_count: bool = True,
    ) -> None:
        """Watch.

        Args:
            timeout: seconds that one thing may take; None: any.
            step: returns the updates done.
            beat: called every `BEAT` seconds with the step, what this worker does, and for how many seconds.
            give_up: called with the error to tell, and does not come back.
            waits_count: whether waiting for others is one of these things. In an elastic job it is not: where this
                worker gave up too, nobody would be left.
        """
        self._timeout, self._step, self._beat, self._give_up = timeout, step, beat, give_up
        self._waits_count = waits_count
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> Watchdog:
        activity.begin("starting")  # preparing data before may have taken as long as it liked
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        period = BEAT if self._timeout is None else min(BEAT, self._timeout / 4)
        ended = False
        while not ended:
            doing, step = activity.current(), self._step()
            seconds = time.monotonic() - doing.since
            self._beat(step, doing, seconds)
            counts = self._waits_count or not doing.waits
            if self._timeout is not None and seconds > self._timeout and counts:
                self._give_up(_error(step, doing, seconds, self._timeout))
            ended = self._ended.wait(period)


def _error(step: int, doing: Activity, seconds: float, timeout: float) -> HangError | LostWorkerError:
    limit = f"(train.hang_timeout = {timeout:g})"
    if doing.waits:
        return WaitError(
            f"after step {step}: waited {seconds:.0f} s for the other workers' {doing.what} {limit}; the worker that "
            "does not wait is stuck, stopped or gone"
        )
    return HangError(f"after step {step}: {doing.what} has taken {seconds:.0f} s {limit}")
