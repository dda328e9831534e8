"""Classification itself: softmax cross entropy; accuracy, F1, and AUC where there are two classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from hvdtrain.tasks._scores import accuracy, auc, confusion, macro_f1
from hvdtrain.tasks._supervised import classes_of, outputs_of, spec_of, targets_of, with_majority
from hvdtrain.tasks._task import Batch, Gathered, Phase, Task

if TYPE_CHECKING:
    from hvdtrain.data.encoders import Encoder
    from hvdtrain.data.prepared import PreparedData
    from hvdtrain.tasks.classification import Config


class Classification(Task):
    """One class of C for each sample, from C logits."""

    loss_unit = "nats a sample"
    objective = ("accuracy", "max")

    def __init__(self, config: Config, encoder: Encoder) -> None:
        self._names = classes_of(config.name, encoder)
        self._smoothing = config.label_smoothing
        self.phases = (Phase("classification", trains=lambda name: True, loss=self._loss),)
        self.spec = spec_of(config.name, encoder, len(self._names))

    def evaluate(self, model: nn.Module, batch: Batch) -> dict[str, Tensor | Gathered]:
        logits, targets = self._logits(model, batch), targets_of("classification", batch)
        sums: dict[str, Tensor | Gathered] = {
            "nats": cross_entropy(logits.double(), targets, reduction="sum"),
            "confusion": confusion(targets, logits.argmax(-1), len(self._names)),
        }
        if len(self._names) == 2:
            sums["scores"] = Gathered(torch.stack((logits[:, 1] - logits[:, 0], targets.float()), -1))
        return sums

    def metrics(self, totals: Mapping[str, Tensor]) -> dict[str, float]:
        """F1 is the mean over classes; the loss is without smoothing."""
        counts = totals["confusion"]
        found = {
            "loss": float(totals["nats"] / counts.sum()),
            "accuracy": accuracy(counts),
            "f1": macro_f1(counts),
        }
        area = auc(*totals["scores"].unbind(-1)) if "scores" in totals else None
        return found if area is None else found | {"auc": area}

    def predict(self, model: nn.Module, batch: Batch) -> list[dict[str, Any]]:
        """Return `class`, its `probability`, and the `probabilities` of all by name."""
        found = self._logits(model, batch).softmax(-1)
        best = found.argmax(-1).tolist()
        return [
            {
                "class": self._names[chosen],
                "probability": row[chosen],
                "probabilities": dict(zip(self._names, row, strict=True)),
            }
            for chosen, row in zip(best, found.tolist(), strict=True)
        ]

    def references(self, data: PreparedData, part: str) -> Mapping[str, Mapping[str, float]]:
        return with_majority(data, part)

    def _loss(self, model: nn.Module, batch: Batch) -> Tensor:
        targets = targets_of("classification", batch)
        return cross_entropy(self._logits(model, batch), targets, reduction="sum", label_smoothing=self._smoothing)

    def _logits(self, model: nn.Module, batch: Batch) -> Tensor:
        return outputs_of(model, batch, len(self._names))
