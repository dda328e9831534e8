"""What a model costs: floating point operations of a forward and backward pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

if TYPE_CHECKING:
    from hvdtrain.data.prepared import Dataset
    from hvdtrain.tasks._task import Batch, Task


def first_samples(task: Task, dataset: Dataset, count: int) -> Batch:
    """Return a micro batch of the first samples, as the loader would deal it."""
    batch = dataset.batch(np.arange(count))
    return batch | ({"number": torch.arange(count)} if task.numbered else {})


def flops_per_target(model: torch.nn.Module, task: Task, dataset: Dataset, device: torch.device) -> float:
    """Return the FLOPs of a forward and backward pass for one target, all phases together.

    A model that has a formula, `flops_per_token(seq_len)`, is asked for it; of another PyTorch counts those of matrix
    products and convolutions, on two samples. Gradients and statistics are as they were before.
    """
    formula = getattr(model, "flops_per_token", None)
    if formula is not None:
        return float(formula(task.spec.max_seq_len))
    batch = {name: tensor.to(device) for name, tensor in first_samples(task, dataset, min(2, len(dataset))).items()}
    was_training = model.training
    model.eval()
    with FlopCounterMode(display=False) as counter:
        for phase in task.phases:
            trained = [p for name, p in model.named_parameters() if p.requires_grad and phase.trains(name)]
            torch.autograd.grad(phase.loss(model, batch), trained, allow_unused=True)
    model.train(was_training)
    return float(counter.get_total_flops()) / max(1, task.count(batch))
