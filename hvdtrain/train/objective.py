"""Which evaluation was the best so far, and whether evaluations still improve."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from hvdtrain.errors import CheckpointError, RecipeError, shared

if TYPE_CHECKING:
    from hvdtrain.recipe.training import EarlyStopping, TrainConfig


class Objective:
    """Follows one metric through a run's evaluations.

    Attributes:
        best: step and value of the best evaluation, None before the first.
        stale: evaluations since the last one that was better by more than `min_delta`.
    """

    def __init__(self, metric: str, mode: Literal["min", "max"], stopping: EarlyStopping | None) -> None:
        self.metric, self.mode = metric, mode
        self.best: tuple[int, float] | None = None
        self.stale = 0
        self._patience = stopping.patience if stopping else None
        self._min_delta = stopping.min_delta if stopping else 0.0
        self._mark: float | None = None

    def see(self, step: int, metrics: Mapping[str, float]) -> bool:
        """Take in an evaluation; return whether it is the best so far. A metric that is missing or NaN never is."""
        value = metrics.get(self.metric, math.nan)
        if self._better(value, self._mark, self._min_delta):
            self._mark, self.stale = value, 0
        else:
            self.stale += 1
        if not self._better(value, self.best[1] if self.best else None, 0.0):
            return False
        self.best = (step, value)
        return True

    def check(self, metrics: Mapping[str, float], config: TrainConfig) -> None:
        """Make sure that what the recipe wants to be followed is among an evaluation's metrics, which all workers have.

        Raises:
            RecipeError: it is not.
        """
        wanted = "train.objective" if config.objective else "train.early_stopping" if config.early_stopping else ""
        if wanted and self.metric not in metrics:
            raise RecipeError(
                f"{wanted}: follows the metric '{self.metric}', which evaluations of this run do not give "
                f"(they give {', '.join(metrics)})"
            )

    @property
    def exhausted(self) -> bool:
        """Whether it is time to stop."""
        return self._patience is not None and self.stale >= self._patience

    def facts(self) -> dict[str, Any]:
        """Return what is written beside the best checkpoint, as JSON values."""
        step, value = self.best or (0, math.nan)
        return {"metric": self.metric, "mode": self.mode, "value": value, "step": step}

    def state_dict(self) -> dict[str, Any]:
        """Return the state as JSON values."""
        return {"metric": self.metric, "best": self.best, "mark": self._mark, "stale": self.stale}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state; one of another metric means nothing here.

        Raises:
            CheckpointError: it is none that `state_dict` gave.
        """
        try:
            if state.get("metric") == self.metric:
                best, mark = state["best"], state["mark"]
                self.best = (int(best[0]), float(best[1])) if best else None
                self._mark, self.stale = None if mark is None else float(mark), int(state["stale"])
        except (AttributeError, KeyError, IndexError, TypeError, ValueError, OverflowError) as error:
            message = f"the checkpoint's account of its best evaluation can't be read ({error!r})"
            raise shared(CheckpointError(f"{message}; start anew with --resume never")) from error

    def _better(self, value: float, than: float | None, by: float) -> bool:
        if math.isnan(value):
            return False
        if than is None:
            return True
        return value < than - by if self.mode == "min" else value > than + by
