"""What the training loop asks of a task, whichever it is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

if TYPE_CHECKING:
    import numpy as np

    from hvdtrain.data.encoders import Encoder
    from hvdtrain.data.prepared import PreparedData
    from hvdtrain.models._spec import DataSpec

Batch = dict[str, torch.Tensor]
"""Tensors of one micro batch by name, the first dimension being the samples."""


@dataclass(frozen=True)
class Phase:
    """One update of one set of parameters.

    A language model has one phase; a GAN has two. `trains` picks parameters by name; `loss` returns the sum of the
    losses over the valid targets of a micro batch, a scalar tensor with its graph. `lr_factor` multiplies the recipe's
    learning rate. While a phase computes, the parameters that it does not train need no gradients.
    """

    name: str
    trains: Callable[[str], bool]
    loss: Callable[[torch.nn.Module, Batch], torch.Tensor]
    lr_factor: float = 1.0


@dataclass(frozen=True)
class Gathered:
    """Values of an evaluation that must be seen together, one row a sample, such as the scores of an AUC: those of
    all batches and workers are put one behind the other rather than summed, in no order that may matter."""

    values: torch.Tensor


@dataclass(frozen=True)
class SampleRequest:
    """A text that the task wants the model to write at each evaluation."""

    prompt: str
    max_new_tokens: int
    temperature: float
    top_k: int | None


@dataclass(frozen=True)
class Shown:
    """What the model made for a person to look at: `prompt` and `text`, and an `image` (H, W) or (H, W, 3) uint8."""

    prompt: str
    text: str
    image: np.ndarray | None = None


class Task(ABC):
    """What a batch means.

    Attributes:
        phases: updates of a step, in order.
        spec: what the model has to know of the data.
        targets_per_sample: valid targets of a full sample: what `count` gives, at most, for a batch of one.
        unit: what a target is called in rates and counts: "tokens" or "samples".
        loss_unit: what the loss is measured in, such as "nats a token".
        objective: the metric by which one checkpoint is better than another, and whether its "min" or "max" is best.
        numbered: whether batches hold `number` (B,) int64 beside their data: the place of each sample among all that
            were dealt, which does not depend on the number of workers; random numbers may be a function of it.
    """

    phases: tuple[Phase, ...]
    spec: DataSpec
    targets_per_sample: int = 1
    unit: Literal["tokens", "samples"] = "samples"
    loss_unit: str = ""
    objective: tuple[str, Literal["min", "max"]] = ("loss", "min")
    numbered: bool = False

    def count(self, batch: Batch) -> int:
        """Return the number of valid targets of a micro batch."""
        return len(next(iter(batch.values())))

    @abstractmethod
    def evaluate(self, model: torch.nn.Module, batch: Batch) -> Mapping[str, torch.Tensor | Gathered]:
        """Return what `metrics` needs of a batch: sums, tensors of any shape which are added over batches and
        workers, and `Gathered` values. The model is in evaluation mode, under `inference_mode`."""

    @abstractmethod
    def metrics(self, totals: Mapping[str, torch.Tensor]) -> dict[str, float]:
        """Return the metrics from the totals over the whole split: float64 on the CPU, a scalar sum is 0-dimensional.
        Every worker is given the same, so that every worker returns the same."""

    def sample_request(self) -> SampleRequest | None:
        """Return a text to generate at evaluations, or None."""
        return None

    def show(self, model: torch.nn.Module, val: Any, seed: int) -> Shown | None:
        """Return what else the model makes for a person to look at, at an evaluation; `val` is the validation set.
        Every worker returns the same."""
        return None

    def predict(self, model: torch.nn.Module, batch: Batch) -> list[dict[str, Any]]:
        """Return JSON values for each sample of a batch without targets: what `hvdtrain predict` writes."""
        raise NotImplementedError

    def references(self, data: PreparedData, part: str) -> Mapping[str, Mapping[str, float]]:
        """Return marks that metrics of a part ("train", "val" or "test") are to be held against, by metric and name;
        see `Examples`."""
        return data.references_of(part)

    def loader(self, **context: Any) -> Any:
        """Return the loader of a task that makes its own batches, or None for the usual one.

        Args:
            context: data (PreparedData), model, world, device, seed, epochs (or None), global_batch_size,
                micro_batch_size.
        """
        return None

    @property
    def wants_model(self) -> Path | None:
        """The checkpoint, or run directory, of another trained model that the task measures with, or None."""
        return None

    def attach(self, model: torch.nn.Module, encoder: Encoder) -> None:
        """Take the model that `wants_model` named, in evaluation mode, on the device of the run, and its encoder."""
        raise NotImplementedError

    def to(self, device: torch.device) -> None:
        """Move what the task holds to the device of the run."""
        return


def build(config: Any, encoder: Encoder) -> Task:
    """Build the task that a recipe names, for data of which only the encoder needs to be known."""
    from hvdtrain import registry

    task: Task = registry.find("tasks", config.name).build(config, encoder)
    return task
