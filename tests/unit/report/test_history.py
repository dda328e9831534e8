from __future__ import annotations

from collections.abc import Callable

import pytest

from hvdtrain.metrics.records import EvalRecord, Record, StepRecord
from hvdtrain.report.history import MAX_POINTS, History, metric_names


def test_time_left_follows_the_pace_of_this_session(recording: Callable[..., list[Record]]) -> None:
    history = History()
    for record in recording(100):
        history(record)
    # 0.65 s a step by the clock, evaluations included, although the steps themselves take 0.629 s.
    assert history.seconds_left() == pytest.approx(400 * 0.65)


def test_time_left_after_one_record_follows_its_step_time(recording: Callable[..., list[Record]]) -> None:
    history = History()
    for record in recording(10):
        history(record)
    assert history.seconds_left() == pytest.approx(490 * 0.629)


def test_no_time_left_is_known_before_the_first_step(recording: Callable[..., list[Record]]) -> None:
    history = History()
    assert history.seconds_left() is None
    history(recording(0)[0])
    assert history.seconds_left() is None
    assert history.steps_done == 0


def test_a_long_run_keeps_a_bounded_curve_with_its_beginning(make_step: Callable[..., StepRecord]) -> None:
    history = History()
    for step in range(1, 5 * MAX_POINTS):
        history(make_step(step, loss=float(step)))
    assert len(history.losses) <= MAX_POINTS
    assert history.losses[0] < 10
    assert history.losses[-1] > 4.9 * MAX_POINTS
    assert history.losses == sorted(history.losses)


def test_the_best_evaluation_is_kept_and_nan_is_never_it() -> None:
    history = History()
    for step, loss in ((1, 3.0), (2, 2.0), (3, float("nan")), (4, 2.5)):
        history(EvalRecord(step=step, metrics={"loss": loss}, samples=1, seconds=1.0))
    assert history.best is not None
    assert history.best.step == 2
    assert history.eval is not None
    assert history.eval.step == 4


def test_known_metrics_come_first_under_their_common_names() -> None:
    named = metric_names({"some_score": 1.0, "bits_per_byte": 2.0, "loss": 3.0})
    assert named == [("loss", 3.0), ("bits/byte", 2.0), ("some score", 1.0)]
