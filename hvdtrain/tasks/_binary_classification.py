"""Binary classification itself: cross entropy of a sigmoid; accuracy, F1 of the second class, and AUC."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from hvdtrain.errors import RecipeError
from hvdtrain.tasks._scores import accuracy, auc, confusion, f1_of_each
from hvdtrain.tasks._supervised import classes_of, outputs_of, spec_of, targets_of, with_majority
from hvdtrain.tasks._task import Batch, Gathered, Phase, Task

if TYPE_CHECKING:
    from hvdtrain.data.encoders import Encoder
    from hvdtrain.data.prepared import PreparedData
    from hvdtrain.tasks.binary_classification import Config


class BinaryClassification(Task):
    """One of two classes for each sample, from one logit z: the probability of the second is 1 / (1 + exp(-z))."""

    loss_unit = "nats a sample"
    objective = ("accuracy", "max")

    def __init__(self, config: Config, encoder: Encoder) -> None:
        self._names = classes_of(config.name, encoder)
        if len(self._names) != 2:
            listed = ", ".join(self._names[:5]) + (", ..." if len(self._names) > 5 else "")
            raise RecipeError(
                f"task.name = binary_classification: the data of this recipe has {len(self._names)} classes "
                f"({listed}); take task: {{name: classification}}"
            )
        self._weight = torch.tensor(config.positive_weight)
        self.phases = (Phase("binary_classification", trains=lambda name: True, loss=self._loss),)
        self.spec = spec_of(config.name, encoder, 1)

    def to(self, device: torch.device) -> None:
        self._weight = self._weight.to(device)

    def evaluate(self, model: nn.Module, batch: Batch) -> dict[str, Tensor | Gathered]:
        logits, targets = _logits(model, batch), targets_of("binary_classification", batch)
        return {
            "nats": binary_cross_entropy_with_logits(logits.double(), targets.double(), reduction="sum"),
            "confusion": confusion(targets, (logits > 0).long(), 2),
            "scores": Gathered(torch.stack((logits, targets.float()), -1)),
        }

    def metrics(self, totals: Mapping[str, Tensor]) -> dict[str, float]:
        """The loss is without weights; F1 is missing where nothing is or was taken for the second class, and AUC where
        one class has no sample."""
        counts = totals["confusion"]
        found = {
            "loss": float(totals["nats"] / counts.sum()),
            "accuracy": accuracy(counts),
            "f1": float(f1_of_each(counts)[1]),
            "auc": auc(*totals["scores"].unbind(-1)),
        }
        return {name: value for name, value in found.items() if value is not None and value == value}

    def predict(self, model: nn.Module, batch: Batch) -> list[dict[str, Any]]:
        """Return `class` and its `probability`."""
        found = _logits(model, batch).sigmoid().tolist()
        return [{"class": self._names[p > 0.5], "probability": max(p, 1 - p)} for p in found]

    def references(self, data: PreparedData, part: str) -> Mapping[str, Mapping[str, float]]:
        return with_majority(data, part)

    def _loss(self, model: nn.Module, batch: Batch) -> Tensor:
        return binary_cross_entropy_with_logits(
            _logits(model, batch),
            targets_of("binary_classification", batch).float(),
            reduction="sum",
            pos_weight=self._weight,
        )


def _logits(model: nn.Module, batch: Batch) -> Tensor:
    """Return (B,) float32."""
    return outputs_of(model, batch, 1).squeeze(1)
