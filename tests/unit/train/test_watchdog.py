"""The watchdog: what it says, of whom, and when it keeps silent."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

from hvdtrain.errors import HangError, LostWorkerError, WaitError
from hvdtrain.metrics import activity
from hvdtrain.train import watchdog
from hvdtrain.train.watchdog import Watchdog

LIMIT = 0.2
"""Seconds of `train.hang_timeout`: the watchdog looks four times in that."""


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that only a test moves, so that a busy machine does not."""
    fake = SimpleNamespace(now=1000.0)
    fake.monotonic = lambda: fake.now
    monkeypatch.setattr(activity, "time", fake)
    monkeypatch.setattr(watchdog, "time", fake)
    monkeypatch.setattr(activity, "_current", activity.Activity("a test", fake.now))
    return fake


class Watched:
    """What a watchdog said while it watched."""

    def __init__(self, timeout: float | None = LIMIT) -> None:
        self.errors: list[Exception] = []
        self.beats: list[str] = []
        self.dog = Watchdog(timeout, step=lambda: 7, beat=self._beat, give_up=self.errors.append)

    def _beat(self, step: int, doing: activity.Activity, seconds: float) -> None:
        self.beats.append(f"{step} {doing.what}{' waits' if doing.waits else ''}")

    def look(self) -> None:
        """Wait until the watchdog has looked, and done what it does, after this."""
        looked = len(self.beats)
        while len(self.beats) < looked + 2:
            time.sleep(0.005)


def test_what_came_before_it_watched_does_not_count(clock: SimpleNamespace) -> None:
    """Preparing data may take longer than any part of a step, and then nothing is wrong."""
    activity.begin("preparing data")
    clock.now += 1000
    watched = Watched()
    with watched.dog:
        watched.look()
    assert watched.errors == []


def test_what_takes_too_long_is_named(clock: SimpleNamespace) -> None:
    watched = Watched()
    with watched.dog:
        activity.begin("loading data")
        clock.now += 3
        watched.look()
    error = watched.errors[0]
    assert isinstance(error, HangError)
    assert str(error).startswith("after step 7: loading data has taken 3 s (train.hang_timeout = 0.2)")
    assert "7 loading data" in watched.beats


def test_a_worker_that_waits_blames_another(clock: SimpleNamespace) -> None:
    watched = Watched()
    with watched.dog:
        activity.begin("the optimizer")
        with activity.waiting("gradients.w.3"):
            clock.now += 3
            watched.look()
    error = watched.errors[0]
    assert isinstance(error, WaitError)
    assert isinstance(error, LostWorkerError), "the launcher must take it for a consequence"
    assert "waited 3 s for the other workers' gradients.w.3" in str(error)
    assert "7 gradients.w.3 waits" in watched.beats
    assert activity.current().what == "the optimizer"


def test_who_gets_on_with_it_is_left_alone(clock: SimpleNamespace) -> None:
    watched = Watched()
    with watched.dog:
        for _ in range(5):
            activity.begin("evaluating")
            clock.now += LIMIT * 0.9
            watched.look()
    assert watched.errors == []


def test_without_a_limit_nothing_is_too_long(clock: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "BEAT", 0.01)
    watched = Watched(None)
    with watched.dog:
        activity.begin("thinking")
        clock.now += 1e6
        watched.look()
    assert watched.errors == []
