"""The watchdog: what it says, of whom, and when it keeps silent."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from hvdtrain.errors import HangError, LostWorkerError, WaitError
from hvdtrain.metrics import activity
from hvdtrain.train.watchdog import Watchdog


def watched(work: Callable[[], Any], timeout: float | None) -> tuple[list[Exception], list[str]]:
    """Do some work under a watchdog; return the errors that it gave up with, and what its beats said."""
    errors: list[Exception] = []
    beats: list[str] = []
    given_up = threading.Event()

    def give_up(error: Exception) -> None:
        errors.append(error)
        given_up.set()
        time.sleep(0.2)

    def beat(step: int, doing: activity.Activity, seconds: float) -> None:
        beats.append(f"{step} {doing.what}{' waits' if doing.waits else ''}")

    activity.begin("a test")
    with Watchdog(timeout, step=lambda: 7, beat=beat, give_up=give_up):
        work()
        if timeout is not None and work.__name__ == "hang":
            assert given_up.wait(30)
    return errors, beats


def test_what_came_before_it_watched_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Preparing data may take longer than any part of a step, and then nothing is wrong."""
    monkeypatch.setattr(activity, "_current", activity.Activity("preparing data", time.monotonic() - 1000))
    errors: list[Exception] = []
    with Watchdog(60.0, step=lambda: 0, beat=lambda *_: None, give_up=errors.append):
        pass  # it looks once before it ends
    assert errors == []


def test_what_takes_too_long_is_named() -> None:
    def hang() -> None:
        activity.begin("loading data")

    errors, beats = watched(hang, 0.2)
    assert isinstance(errors[0], HangError)
    assert str(errors[0]).startswith("after step 7: loading data has taken 0 s (train.hang_timeout = 0.2)")
    assert "7 loading data" in beats


def test_a_worker_that_waits_blames_another() -> None:
    entered = activity.waiting("gradients.w.3")

    def hang() -> None:
        activity.begin("the optimizer")
        entered.__enter__()

    errors, beats = watched(hang, 0.2)
    entered.__exit__(None, None, None)
    assert isinstance(errors[0], WaitError)
    assert isinstance(errors[0], LostWorkerError), "the launcher must take it for a consequence"
    assert "for the other workers' gradients.w.3" in str(errors[0])
    assert "7 gradients.w.3 waits" in beats
    assert activity.current().what == "the optimizer"


def test_who_gets_on_with_it_is_left_alone() -> None:
    def evaluate() -> None:
        for _ in range(12):
            activity.begin("evaluating")
            time.sleep(0.1)

    assert watched(evaluate, 0.4)[0] == []


@pytest.mark.parametrize("timeout", [None])
def test_without_a_limit_nothing_is_too_long(timeout: None) -> None:
    def stay() -> None:
        activity.begin("thinking")
        time.sleep(0.3)

    assert watched(stay, timeout)[0] == []
