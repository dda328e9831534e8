from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from hvdtrain.errors import RunError, UserError
from hvdtrain.metrics.lines import dumps, loads
from hvdtrain.metrics.strategies import StrategyRecord
from hvdtrain.scaling.compare import run as module
from hvdtrain.scaling.compare.plan import Choice
from hvdtrain.scaling.compare.run import Compare, StrategyTask, parse_strategy_task
from hvdtrain.scaling.trial import Place, Stopped

TASK = StrategyTask("r", ("seed=1",), steps=15, warmup=5)
CHOICES = (Choice("allreduce"), Choice("sharded"))

Make = Callable[..., list[StrategyRecord]]


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch, make_run: Make) -> tuple[list[str], dict[str, BaseException]]:
    """A machine that runs everything but what `broken` holds for a strategy."""
    started: list[str] = []
    broken: dict[str, BaseException] = {}

    def fake(kind: type, arguments: tuple[str, ...], recipe: str, workers: int, place: Place) -> list[StrategyRecord]:
        assert (kind, arguments[:2], recipe, workers) == (StrategyRecord, ("trial", "--strategy"), "r", 2)
        task = parse_strategy_task(arguments[2])
        assert (task.overrides[0], task.steps, task.warmup) == ("seed=1", 15, 5)
        name = task.overrides[1].removeprefix("sync.name=")
        started.append(name)
        if name in broken:
            raise broken[name]
        return make_run()

    monkeypatch.setattr(module, "collect", fake)
    return started, broken


def test_each_round_has_every_strategy_once(launched: tuple[list[str], dict[str, BaseException]]) -> None:
    told: list[tuple[int, str]] = []
    runs = Compare(TASK, CHOICES, 2, Place(), 2).run({}, lambda number, name, found: told.append((number, name)))
    order = ["none", "allreduce", "sharded"]
    assert launched[0] == [*order, *reversed(order)]
    assert told == [*((0, name) for name in order), *((1, name) for name in reversed(order))]
    assert {name: sorted(rounds) for name, rounds in runs.done.items()} == {name: [0, 1] for name in order}


def test_one_that_fails_is_left_out_and_the_others_go_on(launched: tuple[list[str], dict[str, BaseException]]) -> None:
    launched[1]["sharded"] = RunError("worker 1 died")
    runs = Compare(TASK, CHOICES, 2, Place(), 3).run({}, lambda *_: None)
    assert launched[0].count("sharded") == 1
    assert (runs.failed, runs.refused) == ({"sharded": "worker 1 died"}, {})
    assert sorted(runs.done["allreduce"]) == [0, 1, 2]

    launched[1]["sharded"] = UserError("wants four workers")
    runs = Compare(TASK, CHOICES, 2, Place(), 1).run({}, lambda *_: None)
    assert (runs.failed, runs.refused) == ({}, {"sharded": "wants four workers"})


def test_one_that_can_not_run_is_not_started(launched: tuple[list[str], dict[str, BaseException]]) -> None:
    runs = Compare(TASK, CHOICES, 2, Place(), 1).run({"sharded": "why"}, lambda *_: None)
    assert launched[0] == ["none", "allreduce"]
    assert runs.refused == {"sharded": "why"}


def test_a_recipe_that_fails_by_itself_is_no_comparison(launched: tuple[list[str], dict[str, BaseException]]) -> None:
    launched[1]["none"] = UserError("no data")
    with pytest.raises(UserError, match="no data"):
        Compare(TASK, CHOICES, 2, Place(), 1).run({}, lambda *_: None)


@pytest.mark.parametrize(("stop", "code"), [(Stopped(143), 143), (KeyboardInterrupt(), 130)])
def test_an_interruption_leaves_what_there_is(
    launched: tuple[list[str], dict[str, BaseException]], stop: BaseException, code: int
) -> None:
    launched[1]["sharded"] = stop
    runs = Compare(TASK, CHOICES, 2, Place(), 2).run({}, lambda *_: None)
    assert runs.stopped == code
    assert set(runs.done) == {"none", "allreduce"}
    assert not runs.failed


def test_a_record_comes_back_as_it_was_written(make_run: Make) -> None:
    one = make_run(notes=("x",), server_bytes_per_step=2e6)[1]
    assert loads(dumps(one)) == one
    assert json.loads(dumps(one))["event"] == "strategy"
