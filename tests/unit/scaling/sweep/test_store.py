from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hvdtrain.errors import SetupError
from hvdtrain.metrics.records import TrialRecord
from hvdtrain.scaling.sweep.store import TRIALS, Store, Trial, successes


def test_trials_are_found_again_as_they_were(tmp_path: Path, make_trial: Callable[..., TrialRecord]) -> None:
    first = Store(tmp_path / "sweep", {"steps": 3})
    kept = Trial("weak-2", 1, (make_trial(0, 2), make_trial(1, 2)))
    first.add(kept)
    first.add(Trial("weak-4", 0, error="worker 3 died"))
    again = Store(tmp_path / "sweep", {"steps": 3})
    assert again.trials == first.trials
    assert again.find("weak-2", 1) == kept
    assert again.find("weak-2", 0) is None
    assert again.find("weak-4", 0) is None
    assert successes(again.trials, "weak-2") == {1: kept.records}
    assert successes(again.trials, "weak-4") == {}


def test_a_torn_line_is_a_trial_that_was_not_made(tmp_path: Path, make_trial: Callable[..., TrialRecord]) -> None:
    store = Store(tmp_path, {})
    store.add(Trial("weak-1", 0, (make_trial(),)))
    store.add(Trial("weak-1", 1, (make_trial(),)))
    path = tmp_path / TRIALS
    path.write_text(path.read_text()[:-50])
    again = Store(tmp_path, {})
    assert [t.repeat for t in again.trials] == [0]
    again.add(Trial("weak-1", 1, (make_trial(),)))
    assert [t.repeat for t in Store(tmp_path, {}).trials] == [0, 1]


def test_other_settings_are_another_sweep(tmp_path: Path) -> None:
    Store(tmp_path / "s", {"steps": 3, "recipe": "x"})
    with pytest.raises(SetupError, match=r"holds another sweep \(steps 3, now 4\): .* --fresh"):
        Store(tmp_path / "s", {"steps": 4, "recipe": "x"})
    Store(tmp_path / "s", {"steps": 4, "recipe": "x"}, fresh=True)
    assert (tmp_path / "s.1" / "sweep.json").exists()


def test_a_directory_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(SetupError, match="not empty and holds no sweep"):
        Store(tmp_path, {}, fresh=True)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_failures_are_forgotten_when_a_sweep_goes_on(tmp_path: Path, make_trial: Callable[..., TrialRecord]) -> None:
    store = Store(tmp_path, {})
    store.add(Trial("weak-4", 0, error="no memory"))
    store.forget_failures()
    assert store.trials == []
    store.add(Trial("weak-4", 0, (make_trial(),)))
    assert [trial.error for trial in Store(tmp_path, {}).trials] == [None]


def test_damaged_settings_are_named(tmp_path: Path) -> None:
    Store(tmp_path / "s", {})
    (tmp_path / "s" / "sweep.json").write_text('{"steps": ')
    with pytest.raises(SetupError, match="sweep.json is damaged"):
        Store(tmp_path / "s", {})
