from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hvdtrain.cli.app import app
from hvdtrain.errors import RunError, UserError
from hvdtrain.metrics.records import TrialRecord
from hvdtrain.recipe import load
from hvdtrain.scaling.trial import Place, Task
from hvdtrain.scaling.tuning import search as tuning
from hvdtrain.scaling.tuning.candidates import KNOBS, Candidate, single_changes, together
from hvdtrain.scaling.tuning.recipe import check_target, write_tuned
from hvdtrain.scaling.tuning.search import Tried, Tuning, sure
from hvdtrain.scaling.tuning.view import how_to_use, table, verdict

CYCLE, FUSION = Candidate({"sync.cycle_time_ms": "5"}), Candidate({"sync.fusion_threshold_mb": "4"})
SLOW, GLOO = Candidate({"sync.cycle_time_ms": "50"}), Candidate(controller="gloo")


@pytest.fixture
def launched(
    monkeypatch: pytest.MonkeyPatch, make_trial: Callable[..., TrialRecord]
) -> list[tuple[tuple[str, ...], str | None]]:
    """A machine where a cycle of 5 ms gives 10 %, a fusion of 4 MiB 5 %, Gloo crashes and everything else hurts."""
    calls: list[tuple[tuple[str, ...], str | None]] = []

    def fake(task: Task, workers: int, place: Place) -> list[TrialRecord]:
        calls.append((task.overrides, place.controller))
        if place.controller == "gloo":
            raise RunError("no route")
        speed = 1.1 if CYCLE.overrides[0] in task.overrides else 1.0
        speed *= 1.05 if FUSION.overrides[0] in task.overrides else 1.0
        speed *= 0.8 if SLOW.overrides[0] in task.overrides else 1.0
        return [make_trial(rank, workers, wall=10 / speed) for rank in range(workers)]

    monkeypatch.setattr(tuning, "run_trial", fake)
    return calls


def test_what_helped_is_joined_and_wins(launched: list[object]) -> None:
    told: list[Tried] = []
    tried = Tuning(Task("r"), 2, Place(), rounds=2).run([SLOW, FUSION, GLOO, CYCLE], told.append)
    assert tried[0].candidate.changes == {"sync.cycle_time_ms": "5", "sync.fusion_threshold_mb": "4"}
    assert [len(one.rates) for one in tried[:4]] == [3, 3, 3, 3]
    assert tried[0].rate == pytest.approx(2048 * 1.155)
    assert [one.error for one in tried if one.candidate == GLOO] == ["no route"]
    assert len(told) == len(launched) == 1 + 4 + 1 + 4 * 2
    stands = next(one for one in tried if one.candidate == Candidate())
    assert stands in tried[:4]
    assert sure(tried[0], stands)
    assert "1.155 times; its slowest launch beats" in verdict(tried)


def test_a_recipe_that_is_best_as_it_stands_is_told_so(launched: list[object]) -> None:
    tried = Tuning(Task("r"), 2, Place(), rounds=1).run([SLOW], lambda one: None)
    assert tried[0].candidate == Candidate()
    assert verdict(tried) == "The recipe as it stands is the fastest of what was tried."
    assert table(tried).row_count == 2  # type: ignore[attr-defined]


def test_trials_that_overlap_are_no_proof() -> None:
    stands, best = Tried(Candidate(), [100.0, 112.0]), Tried(CYCLE, [110.0, 115.0])
    assert not sure(best, stands)
    assert "may be chance" in verdict([best, stands])


def test_a_recipe_that_cannot_run_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(task: Task, workers: int, place: Place) -> list[TrialRecord]:
        raise UserError("no data")

    monkeypatch.setattr(tuning, "run_trial", wrong)
    with pytest.raises(UserError, match="no data"):
        Tuning(Task("r"), 2, Place(), rounds=1).run([CYCLE], lambda one: None)


def test_single_changes_leave_out_what_stands() -> None:
    found = single_changes(
        cycle_ms=20.0, fusion_mb=32, groups=None, threads=4, share=4, controllers=("gloo", "mpi"), current="mpi"
    )
    said = [str(one) for one in found]
    assert "cycle (ms) 20" not in said
    assert "fusion (MiB) 32" not in said
    assert "mpi" not in said
    assert {"cycle (ms) 1", "groups 8", "threads 3", "threads 2", "gloo"} <= set(said)


def test_a_candidate_names_its_knobs_as_the_command_line_does() -> None:
    assert Candidate().knobs == set()
    assert CYCLE.joined(GLOO).knobs == {"cycle_time_ms", "controller"}
    every = single_changes(
        cycle_ms=20.0, fusion_mb=32, groups=None, threads=4, share=4, controllers=("gloo", "mpi"), current="mpi"
    )
    assert set().union(*(one.knobs for one in every)) == set(KNOBS)


def test_an_unknown_knob_is_refused_before_anything_is_started() -> None:
    result = CliRunner().invoke(app, ["tune", "gpt-shakespeare", "-np", "2", "--only", "cycle"])
    assert isinstance(result.exception, UserError)
    assert "--only cycle: there is no such knob; expected one of cycle_time_ms, fusion" in str(result.exception)


def test_the_best_value_of_a_knob_is_joined() -> None:
    best = together([CYCLE, SLOW, FUSION, GLOO])
    assert best == Candidate({"sync.fusion_threshold_mb": "4", "sync.cycle_time_ms": "5"}, "gloo")
    assert together([CYCLE]) is None
    assert together([]) is None
    assert how_to_use(best, 2, "my recipe.yaml", ["seed=1"]) == (
        "hvdtrain launch --gloo -np 2 'my recipe.yaml' seed=1 sync.fusion_threshold_mb=4 sync.cycle_time_ms=5"
    )


BEST = Candidate({"sync.cycle_time_ms": "2.5", "train.threads_per_worker": "3"})


def test_a_new_recipe_extends_the_tuned_one(small_recipe: Path, tmp_path: Path) -> None:
    target = tmp_path / "tuned.yaml"
    check_target(target, str(small_recipe))
    write_tuned(target, str(small_recipe), [], BEST, "measured")
    assert target.read_text().startswith("# measured\nextends: ")
    made, was = load(target).recipe, load(small_recipe).recipe
    assert made.sync.cycle_time_ms == 2.5  # type: ignore[attr-defined]
    assert made.train.threads_per_worker == 3
    assert made.model == was.model


def test_a_recipe_is_changed_in_place_with_its_comments(small_recipe: Path, tmp_path: Path) -> None:
    target = tmp_path / "own.yaml"
    target.write_text("# mine\n" + small_recipe.read_text().replace("seed", "seed") + "# the end\n")
    check_target(target, str(target))
    write_tuned(target, str(target), [], BEST, "measured")
    text = target.read_text()
    assert text.startswith("# mine\n")
    assert "# the end" in text
    assert load(target).recipe.train.threads_per_worker == 3


def test_a_shipped_recipe_and_changes_are_written_whole(tmp_path: Path) -> None:
    target = tmp_path / "tuned.yaml"
    write_tuned(target, "gpt-shakespeare", ["model.n_layers=2"], BEST, "measured")
    assert load(target).recipe.model.n_layers == 2  # type: ignore[attr-defined]
    assert load(target).recipe.sync.cycle_time_ms == 2.5  # type: ignore[attr-defined]


def test_nothing_else_is_overwritten(small_recipe: Path, tmp_path: Path) -> None:
    other = tmp_path / "notes.yaml"
    other.write_text("precious: true\n")
    with pytest.raises(UserError, match="is there already"):
        check_target(other, str(small_recipe))
    with pytest.raises(UserError, match="the folder .* does not exist"):
        check_target(tmp_path / "no" / "x.yaml", str(small_recipe))
    from hvdtrain.recipe.catalogue import shipped

    with pytest.raises(UserError, match="hvdtrain's own"):
        check_target(shipped()["gpt-shakespeare"], "gpt-shakespeare")


def test_a_recipe_that_fails_as_it_stands_is_not_tuned(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(task: Task, workers: int, place: Place) -> list[TrialRecord]:
        raise RunError("worker 1 died")

    monkeypatch.setattr(tuning, "run_trial", broken)
    with pytest.raises(RunError, match="as it stands failed: worker 1 died"):
        Tuning(Task("r"), 2, Place(), rounds=1).run([CYCLE], lambda one: None)


def test_changes_do_not_get_lost_in_the_recipe_itself(small_recipe: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text(small_recipe.read_text())
    with pytest.raises(UserError, match="is tuned with model.n_layers=3"):
        check_target(own, str(own), ["model.n_layers=3"])
