from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hvdtrain.errors import RecipeError, RunError
from hvdtrain.metrics.records import TrialRecord
from hvdtrain.scaling.sweep import sweep as sweeps
from hvdtrain.scaling.sweep.plan import Size
from hvdtrain.scaling.sweep.store import Store, Trial
from hvdtrain.scaling.sweep.sweep import Sweep
from hvdtrain.scaling.trial import Place, Stopped, Task

SIZES = [Size("weak", n, 1, (f"train.micro_batch_size={n}",)) for n in (1, 2, 4)]


class Silent:
    def begin(self, size: Size, repeat: int) -> None: ...

    def done(self, trial: Trial, size: Size) -> None: ...


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch, make_trial: Callable[..., TrialRecord]) -> list[tuple[int, tuple[str, ...]]]:
    """What was launched; trials of four workers fail, and the list's `stop_at`-th launch is interrupted."""
    launched: list[tuple[int, tuple[str, ...]]] = []

    def fake(task: Task, workers: int, place: Place) -> list[TrialRecord]:
        launched.append((workers, task.overrides))
        if workers == 4:
            raise RunError("worker 3 was ended by SIGKILL")
        return [make_trial(rank, workers) for rank in range(workers)]

    monkeypatch.setattr(sweeps, "run_trial", fake)
    return launched


def test_repeats_are_interleaved_and_each_begins_with_another_size() -> None:
    turns = [(size.workers, repeat) for size, repeat in Sweep(Task("r"), SIZES, 3, Place()).turns()]
    assert turns == [(1, 0), (2, 0), (4, 0), (2, 1), (4, 1), (1, 1), (4, 2), (1, 2), (2, 2)]


def test_a_failed_size_is_named_and_leaves_the_others(tmp_path: Path, ran: list[object]) -> None:
    store = Store(tmp_path, {})
    Sweep(Task("r", ("seed=1",)), SIZES, 2, Place()).run(store, Silent())
    assert [(t.key, t.repeat, t.error) for t in store.trials] == [
        ("weak-1x1", 0, None),
        ("weak-2x1", 0, None),
        ("weak-4x1", 0, "worker 3 was ended by SIGKILL"),
        ("weak-2x1", 1, None),
        ("weak-1x1", 1, None),
    ]
    assert ran[0] == (1, ("seed=1", "train.micro_batch_size=1"))


def test_a_sweep_goes_on_with_what_is_missing(
    tmp_path: Path, ran: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep, whole = Sweep(Task("r"), SIZES[:2], 2, Place()), sweeps.run_trial

    def interrupted(task: Task, workers: int, place: Place) -> list[TrialRecord]:
        if len(ran) == 2:
            raise Stopped(130)
        return whole(task, workers, place)

    with monkeypatch.context() as patch:
        patch.setattr(sweeps, "run_trial", interrupted)
        with pytest.raises(Stopped):
            sweep.run(Store(tmp_path, {}), Silent())
    assert len(Store(tmp_path, {}).trials) == 2
    store = Store(tmp_path, {})
    sweep.run(store, Silent())
    assert [(t.key, t.repeat) for t in store.trials] == [
        ("weak-1x1", 0),
        ("weak-2x1", 0),
        ("weak-2x1", 1),
        ("weak-1x1", 1),
    ]
    assert len(ran) == 4


def test_what_every_trial_would_share_is_raised_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(task: Task, workers: int, place: Place) -> list[TrialRecord]:
        raise RecipeError("no such file")

    monkeypatch.setattr(sweeps, "run_trial", wrong)
    with pytest.raises(RecipeError):
        Sweep(Task("r"), SIZES, 2, Place()).run(Store(tmp_path, {}), Silent())


def test_trials_of_other_sizes_and_repeats_are_not_of_this_sweep() -> None:
    sweep = Sweep(Task("r"), SIZES[:2], 2, Place())
    trials = [
        Trial("weak-1x1", 0),
        Trial("weak-1x1", 2),
        Trial("weak-4x1", 0),
        Trial("weak-2x2", 0),
        Trial("weak-2x1", 1),
    ]
    assert [(trial.key, trial.repeat) for trial in sweep.own(trials)] == [("weak-1x1", 0), ("weak-2x1", 1)]
