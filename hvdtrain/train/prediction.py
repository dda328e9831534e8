"""Predictions of a trained model for raw inputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch

from hvdtrain.errors import UserError
from hvdtrain.tasks._task import Task

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hvdtrain.train.opening import Trained


def predict(
    trained: Trained, raw: Iterable[Any], device: torch.device, batch_size: int = 32
) -> Iterator[dict[str, Any]]:
    """Yield a JSON object for each raw input, in order; inputs are read as they are needed.

    Args:
        trained: the model is moved to the device.
        raw: what the encoder of the model encodes: texts, images (C, H, W) uint8, rows of numbers.
        device: where to compute.
        batch_size: inputs at a time.

    Raises:
        UserError: the task predicts nothing for single inputs.
    """
    if type(trained.task).predict is Task.predict:
        raise UserError(
            f"a model of task {trained.recipe.task.name} has nothing to predict for single inputs; "
            "`hvdtrain generate` writes text, `hvdtrain evaluate` measures"
        )
    return _predictions(trained, iter(raw), device, batch_size)


def _predictions(
    trained: Trained, raw: Iterator[Any], device: torch.device, batch_size: int
) -> Iterator[dict[str, Any]]:
    model = trained.model.to(device).eval()
    trained.task.to(device)
    while batch := list(islice(raw, batch_size)):
        yield from _predicted(trained, model, batch, device)


def _predicted(
    trained: Trained, model: torch.nn.Module, batch: Sequence[Any], device: torch.device
) -> list[dict[str, Any]]:
    arrays = trained.encoder.encode(batch)
    with torch.inference_mode():
        return trained.task.predict(model, {name: torch.from_numpy(a).to(device) for name, a in arrays.items()})
