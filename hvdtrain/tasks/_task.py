"""What the training loop asks of a task, whichever it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch

Batch = dict[str, torch.Tensor]
"""Tensors of one micro batch by name, the first dimension being the samples."""


@dataclass(frozen=True)
class Phase:
    """One update of one set of parameters.

    A language model has one phase; a GAN has two. `trains` picks parameters by name; `loss` returns the sum of the
    losses over the valid targets of a micro batch, a scalar tensor with its graph.
    """

    name: str
    trains: Callable[[str], bool]
    loss: Callable[[torch.nn.Module, Batch], torch.Tensor]


@dataclass(frozen=True)
class SampleRequest:
    """A text that the task wants the model to write at each evaluation."""

    prompt: str
    max_new_tokens: int
    temperature: float
    top_k: int | None


class Task(Protocol):
    """What a batch means."""

    phases: tuple[Phase, ...]
    targets_per_sample: int

    def count(self, batch: Batch) -> int:
        """Return the number of valid targets of a micro batch."""
        ...

    def evaluate(self, model: torch.nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
        """Return sums over a batch that `metrics` needs, as scalar tensors; all batches' and workers' are added."""
        ...

    def metrics(self, sums: Mapping[str, float]) -> dict[str, float]:
        """Return the metrics from the sums over the whole split."""
        ...

    def sample_request(self) -> SampleRequest | None:
        """Return what to generate at evaluations, or None."""
        ...


def build(config: Any, data: Any) -> Task:
    """Build the task that a recipe names, for its prepared data."""
    from hvdtrain import registry

    task: Task = registry.find("tasks", config.name).build(config, data)
    return task
