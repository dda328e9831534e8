from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from hvdtrain.cli import compare
from hvdtrain.errors import RecipeError, RunError, UserError
from hvdtrain.metrics.strategies import Comparison, StrategyRecord
from hvdtrain.scaling.compare import run as runs
from hvdtrain.scaling.compare.run import parse_strategy_task
from hvdtrain.scaling.trial import Place, Stopped


def record(rank: int, seconds: float) -> StrategyRecord:
    return StrategyRecord(
        step=12, rank=rank, world_size=2, host="a", timed=10, wall=10 * seconds, samples=80, tokens=900, train_loss=2.0,
        metrics={"loss": 2.5}, memory_bytes=3,
    )  # fmt: skip


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Place]]:
    """What would be launched; `broken` runs are those of the strategies that an exception is kept for."""
    found: list[tuple[str, Place]] = []

    def fake(kind: type, arguments: Sequence[str], recipe: str, workers: int, place: Place) -> list[StrategyRecord]:
        name = parse_strategy_task(arguments[2]).overrides[-1].removeprefix("sync.name=")
        found.append((name, place))
        if name in BROKEN:
            raise BROKEN[name]
        return [record(rank, 0.1 if name == "none" else 0.2) for rank in range(workers)]

    monkeypatch.setattr(runs, "collect", fake)
    monkeypatch.setattr("hvdtrain.launch.facts.horovod_controllers", lambda: ("gloo",))
    monkeypatch.setattr(sys, "argv", ["hvdtrain", "compare", "x"])
    BROKEN.clear()
    return found


BROKEN: dict[str, BaseException] = {}


def invoke(*arguments: str) -> Any:
    app = typer.Typer()
    app.command("compare")(compare.compare)
    app.command("other")(lambda: None)
    return CliRunner().invoke(app, ["compare", *arguments])


def test_a_comparison_runs_shows_and_writes(started: list[Any], small_recipe: Path, tmp_path: Path) -> None:
    result = invoke(
        *(str(small_recipe), "-np", "2", "--sync", "allreduce,sharded", "--steps", "12", "--rounds", "2"),
        *("--output", str(tmp_path / "out"), "-H", "a:1,b:1", "--gloo", "--no-host-check", "--cycle-time-ms", "5"),
        "seed=2",
    )
    assert result.exit_code == 0, result.output
    assert [name for name, _ in started] == ["none", "allreduce", "sharded", "sharded", "allreduce", "none"]
    place = started[0][1]
    assert ([str(host) for host in place.hosts], place.controller) == (["a:1", "b:1"], "gloo")
    assert place.flags == {"cycle_time_ms": 5.0}
    assert "[6/6] round 2, none: 100 ms an update" in result.output
    assert "100.0 %" in result.output
    written = Comparison.model_validate_json((tmp_path / "out" / "comparison.json").read_bytes())
    assert {one.strategy for one in written.results} == {"allreduce", "sharded", "none"}


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--sync", "shraded"], "did you mean 'sharded'"),
        (["--sync", "sharded:compression=fp16"], "compression"),
        (["--warmup", "60"], "none of --steps 60"),
        (["sync.cycle_time_ms=4"], "--sync NAME:cycle_time_ms=4"),
        (["--gloo", "--mpi"], "exclude each other"),
        (["model.d_mode=4"], "d_mode"),
    ],
)
def test_mistakes_are_refused_before_anything_starts(
    started: list[Any], small_recipe: Path, arguments: list[str], problem: str
) -> None:
    result = invoke(str(small_recipe), "-np", "2", *arguments)
    assert isinstance(result.exception, UserError | RecipeError)
    assert result.exception.exit_code == 2
    assert problem in str(result.exception)
    assert started == []


def test_a_strategy_that_can_not_run_is_listed(
    started: list[Any], small_recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hvdtrain.sync.sharded import Config

    monkeypatch.setattr(Config, "problem", lambda self, size, controller: f"not {size} workers on {controller}")
    arguments = (str(small_recipe), "-np", "2", "--rounds", "1")
    result = invoke(*arguments, "--sync", "allreduce,sharded")
    assert result.exit_code == 0, result.output
    assert [name for name, _ in started] == ["none", "allreduce"]
    assert "sharded: not 2 workers on gloo" in result.output
    alone = invoke(*arguments, "--sync", "sharded")
    assert isinstance(alone.exception, UserError)
    assert len(started) == 2


def test_a_run_that_breaks_off_is_an_error_at_the_end(started: list[Any], small_recipe: Path) -> None:
    BROKEN["sharded"] = RunError("worker 1 died\nof this")
    result = invoke(str(small_recipe), "-np", "2", "--sync", "sharded,allreduce")
    assert result.exit_code == 1
    assert "round 1, sharded: left out: worker 1 died\n" in result.output
    assert "[7/7]" in result.output
    assert "allreduce takes 200 ms an update" in " ".join(result.output.split())


def test_an_interruption_shows_what_there_is(started: list[Any], small_recipe: Path, tmp_path: Path) -> None:
    BROKEN["sharded"] = Stopped(130)
    result = invoke(str(small_recipe), "-np", "2", "--sync", "allreduce,sharded", "-o", str(tmp_path))
    assert result.exit_code == 130
    assert "interrupted" in result.output
    assert (tmp_path / "comparison.md").exists()
    BROKEN["none"] = Stopped(130)
    result = invoke(str(small_recipe), "-np", "2", "--sync", "allreduce")
    assert result.exit_code == 130
    assert "Traceback" not in result.output
