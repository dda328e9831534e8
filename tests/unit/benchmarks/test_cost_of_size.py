"""benchmarks/cost_of_size.py and loader_rate.py: turns, what is continued, tables and the plot, from canned numbers."""

from __future__ import annotations

import json
from pathlib import Path

import cost_of_size as costs
import loader_rate
import pytest

from hvdtrain.recipe import load
from hvdtrain.scaling.trial import ENDLESS


def trial(case: str, number: int, step: float, floor: float, cores: int = 2) -> dict:
    return {
        "case": case, "round": number, "step": step, "floor": floor, "steps": 8, "tokens_per_second": 2048 / step,
        "bytes_per_step": 27_361_280, "allreduce_seconds": 0.02, "cores": cores,
        "controller": "gloo", "engine": {},
    }  # fmt: skip


TRIALS = [
    trial("7mx4", 0, 1.5, 1.2),
    trial("7mx2", 0, 0.6, 0.5),
    trial("50mx2", 0, 4.4, 4.0),
    trial("7mx2", 1, 0.55, 0.5),
    trial("7mx2", 2, 0.9, 0.6),
]


@pytest.mark.parametrize(
    ("arguments", "named"), [(["--workers", "1", "2"], "two or more"), (["--into", "x.json"], "--write")]
)
def test_what_makes_no_sense_is_refused(arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        costs.parse(arguments)
    assert refused.value.code == 2
    assert named in capsys.readouterr().err


def test_every_case_has_its_turn_in_each_round_and_none_is_always_first() -> None:
    cases = [costs.Case(size, workers) for size in ("1m", "7m") for workers in (2, 3)]
    turns = list(costs.turns(cases, 3))
    assert sorted(turns) == sorted((case, number) for case in cases for number in range(3))
    assert [number for _, number in turns] == sorted(number for _, number in turns)
    assert len({turns[4 * number][0] for number in range(3)}) == 3


def test_tax_is_taken_within_a_launch_and_rows_are_ordered() -> None:
    rows = costs.summary(TRIALS)
    assert [(row["size"], row["workers"], row["oversubscribed"], row["rounds"]) for row in rows] == [
        ("7m", 2, False, 3),
        ("7m", 4, True, 1),
        ("50m", 2, False, 1),
    ]
    # 0.2, 0.1 and 0.5; the medians of step and floor would give 0.2 too, but not its range
    assert rows[0]["sync_tax"]["median"] == pytest.approx(0.2)
    assert rows[0]["sync_tax"]["range"] == pytest.approx([0.1, 0.5])
    assert rows[0]["step"] == {"median": 0.6, "range": [0.55, 0.9]}
    lines = costs.table(rows).splitlines()
    assert lines[2].startswith("| 7 M | 2 | 27.4 MB | 600.0 ms | 500.0 ms | **20.0 %** (10.0 to 50.0) |")
    assert lines[3].startswith("| 7 M | 4 * |")
    assert "take turns" in lines[-1]


def test_results_are_kept_with_table_and_plot_and_continued_under_the_same_settings(tmp_path: Path) -> None:
    path, settings = tmp_path / "kept.json", costs.settings_of(costs.parse(["--steps", "2"]))
    costs.write(path, TRIALS, settings)
    assert costs.stored(path, settings) == TRIALS
    assert json.loads(path.read_text())["rows"] == costs.summary(TRIALS)
    assert costs.table(costs.summary(TRIALS)) in path.with_suffix(".md").read_text()
    assert path.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(SystemExit, match="--into"):
        costs.stored(path, settings | {"precision": "bf16"})


def test_only_trials_that_are_missing_are_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def measure(case: costs.Case, asked: object) -> dict:
        made.append(case)
        return {k: v for k, v in trial(case.key, 0, 1.1, 1.0).items() if k not in ("case", "round")}

    monkeypatch.setattr(costs, "measure", measure)
    arguments = ["cost_of_size.py", "--sizes", "7m", "--workers", "2", "--write", "--into", str(tmp_path / "a.json")]
    for rounds, more in ((1, 1), (3, 2), (3, 0)):
        made.clear()
        monkeypatch.setattr("sys.argv", [*arguments, "--rounds", str(rounds)])
        costs.main()
        assert len(made) == more


@pytest.mark.parametrize("size", costs.SIZES)
def test_a_trial_may_be_of_any_length(size: str) -> None:
    recipe = load(f"bench/gpt-{size}", [*ENDLESS, "train.threads_per_worker=1"]).recipe
    assert recipe.train.max_steps == 1_000_000


def test_the_loader_is_held_against_training_round_by_round() -> None:
    found = loader_rate.summary([{"loader": 100, "training": 10}, {"loader": 90, "training": 3}])
    assert found["ratio"] == {"median": 20, "range": [10, 30]}
    assert found["loader"] == {"median": 95, "range": [90, 100]}


def test_loader_and_training_are_both_timed(small_recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = []
    monkeypatch.setattr(loader_rate, "rate", lambda tokens, count, work: counted.append((tokens, count)) or work())
    rounds = loader_rate.measure(str(small_recipe), ["train.global_batch_size=null"], 2, batches=7, steps=3)
    # 2 samples of 16 tokens; every other round begins with training
    assert counted == [(32, 7), (32, 3), (32, 3), (32, 7)]
    assert all(isinstance(one["loader"], list) and one["training"].targets == 32 for one in rounds)
