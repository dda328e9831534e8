"""Which evaluation is the best, and when evaluations have stopped improving."""

from __future__ import annotations

import json
import math

import pytest

from hvdtrain.recipe.training import EarlyStopping
from hvdtrain.train.objective import Objective


def seen(objective: Objective, *values: float) -> list[bool]:
    return [objective.see(step, {objective.metric: value}) for step, value in enumerate(values, start=1)]


def test_the_smallest_loss_is_the_best() -> None:
    objective = Objective("loss", "min", None)
    assert seen(objective, 3.0, 2.0, 2.5, 2.0, 1.0) == [True, True, False, False, True]
    assert objective.best == (5, 1.0)


def test_the_largest_accuracy_is_the_best() -> None:
    objective = Objective("accuracy", "max", None)
    assert seen(objective, 0.5, 0.4, 0.9, 0.9) == [True, False, True, False]
    assert objective.best == (3, 0.9)


def test_what_is_no_number_or_missing_is_never_the_best() -> None:
    objective = Objective("loss", "min", None)
    assert seen(objective, math.nan) == [False]
    assert not objective.see(2, {"accuracy": 1.0})
    assert objective.best is None


def test_patience_counts_evaluations_since_the_last_that_was_better_by_more_than_min_delta() -> None:
    objective = Objective("loss", "min", EarlyStopping(patience=2, min_delta=0.1))
    exhausted = []
    for step, value in enumerate((1.0, 0.95, 0.85, 0.80, 0.79, 0.78), start=1):
        objective.see(step, {"loss": value})
        exhausted.append(objective.exhausted)
    # 0.85 is better than 1.0 by more than 0.1 although it is not than 0.95; 0.80 and 0.79 are not better than 0.85.
    assert exhausted == [False, False, False, False, True, True]
    assert objective.best == (6, 0.78), "the best is the best, however small the gain"


def test_without_early_stopping_patience_never_ends() -> None:
    objective = Objective("loss", "min", None)
    seen(objective, *[1.0] * 1000)
    assert not objective.exhausted


def test_it_goes_on_from_its_state() -> None:
    stopping = EarlyStopping(patience=3)
    first, second = Objective("loss", "min", stopping), Objective("loss", "min", stopping)
    seen(first, 1.0, 2.0, 2.0)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert second.best == (1, 1.0)
    assert not second.see(4, {"loss": 1.5})
    assert second.exhausted


def test_the_state_of_another_metric_is_not_taken_over() -> None:
    first, second = Objective("loss", "min", None), Objective("accuracy", "max", None)
    seen(first, 1.0)
    second.load_state_dict(first.state_dict())
    assert second.best is None


@pytest.mark.parametrize(("mode", "worse"), [("min", 2.0), ("max", 0.5)])
def test_facts_are_of_the_best_evaluation(mode: str, worse: float) -> None:
    objective = Objective("score", mode, None)
    seen(objective, 1.0, worse)
    assert objective.facts() == {"metric": "score", "mode": mode, "value": 1.0, "step": 1}
