"""Regression itself: mean squared error; R2, and errors in the target's own unit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.nn.functional import mse_loss

from hvdtrain.errors import RecipeError
from hvdtrain.tasks._supervised import outputs_of, spec_of, targets_of, with_reference
from hvdtrain.tasks._task import Batch, Phase, Task

if TYPE_CHECKING:
    from hvdtrain.data.encoders import Encoder
    from hvdtrain.data.prepared import PreparedData
    from hvdtrain.tasks.regression import Config


class Regression(Task):
    """One number for each sample."""

    loss_unit = "squared error, standardised"
    objective = ("r2", "max")

    def __init__(self, config: Config, encoder: Encoder) -> None:
        if encoder.class_names:
            raise RecipeError(
                "task.name = regression: needs a number for each sample, and the data of this recipe has classes; take "
                "task: {name: classification}"
            )
        self._mean, self._std = encoder.target_mean, encoder.target_std
        self.phases = (Phase("regression", trains=lambda name: True, loss=_squared_errors),)
        self.spec = spec_of(config.name, encoder, 1)

    def evaluate(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        targets = targets_of("regression", batch).double()
        errors = _values(model, batch).double() - targets
        return {
            "squared_errors": errors.square().sum(),
            "absolute_errors": errors.abs().sum(),
            "targets": targets.sum(),
            "squared_targets": targets.square().sum(),
            "samples": targets.new_tensor(len(targets)),
        }

    def metrics(self, totals: Mapping[str, Tensor]) -> dict[str, float]:
        """R2 = 1 - squared errors / squared deviations from the part's own mean; it is missing where all targets are
        equal."""
        sums = {name: float(value) for name, value in totals.items()}
        count = sums["samples"]
        # Standardised targets have a mean near 0, so that nothing cancels in this difference.
        deviations = sums["squared_targets"] - sums["targets"] ** 2 / count
        found = {"loss": sums["squared_errors"] / count}
        if deviations > 1e-12 * count:
            found["r2"] = 1 - sums["squared_errors"] / deviations
        found["rmse"] = math.sqrt(sums["squared_errors"] / count) * self._std
        found["mae"] = sums["absolute_errors"] / count * self._std
        return found

    def predict(self, model: nn.Module, batch: Batch) -> list[dict[str, Any]]:
        """Return `value`, in the target's own unit."""
        return [{"value": value * self._std + self._mean} for value in _values(model, batch).double().tolist()]

    def references(self, data: PreparedData, part: str) -> Mapping[str, Mapping[str, float]]:
        return with_reference(data.references_of(part), "r2", "always the mean", 0.0)


def _values(model: nn.Module, batch: Batch) -> Tensor:
    """Return standardised numbers (B,) float32."""
    return outputs_of(model, batch, 1).squeeze(1)


def _squared_errors(model: nn.Module, batch: Batch) -> Tensor:
    return mse_loss(_values(model, batch), targets_of("regression", batch), reduction="sum")
