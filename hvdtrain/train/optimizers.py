"""Optimizers from the recipe, with weight decay where it belongs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from hvdtrain.recipe.optimizers import AdamWConfig, SGDConfig


def build(config: AdamWConfig | SGDConfig, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
    """Build the optimizer; matrices and larger tensors decay, gains and biases don't (as in GPT-2 and Llama).

    `fused: auto` takes PyTorch's fused AdamW on a CPU and on CUDA: on two CPU cores a step of 6.8 M parameters took
    7.6 ms with it and 26 ms without.
    """
    trained = [p for p in parameters if p.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if isinstance(config, AdamWConfig):
        fused = trained[0].device.type in ("cpu", "cuda") if config.fused == "auto" else config.fused
        return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, eps=config.eps, fused=fused)
    return torch.optim.SGD(
        groups, lr=config.lr, momentum=config.momentum, dampening=config.dampening, nesterov=config.nesterov
    )
