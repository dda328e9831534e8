"""Optimizers from the recipe, with weight decay where it belongs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from hvdtrain.eager import SGD, AdamW
from hvdtrain.errors import CheckpointError
from hvdtrain.recipe.optimizers import AdamWConfig, SGDConfig


def build(config: AdamWConfig | SGDConfig, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
    """Build the optimizer; matrices and larger tensors decay, gains and biases don't (as in GPT-2 and Llama).

    `fused: auto` takes PyTorch's fused AdamW on a CPU and on CUDA: on two CPU cores a step of 6.8 M parameters took
    7.6 ms with it and 26 ms without.
    """
    trained = [p for p in parameters if p.requires_grad]
    decayed, others = _by_decay(trained)
    groups: list[dict[str, Any]] = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if isinstance(config, AdamWConfig):
        fused = trained[0].device.type in ("cpu", "cuda") if config.fused == "auto" else config.fused
        return AdamW(groups, lr=config.lr, betas=config.betas, eps=config.eps, fused=fused)
    return SGD(groups, lr=config.lr, momentum=config.momentum, dampening=config.dampening, nesterov=config.nesterov)


def check_state(state: Mapping[int, Mapping[str, Any]], parameters: Iterable[torch.nn.Parameter], adam: bool) -> None:
    """Make sure that a state, as `state_dict` has it, fits the parameters that `build` was given.

    A fused step reads and writes memory by the parameter's size, whatever the state's tensors have.

    Raises:
        CheckpointError: it does not.
    """
    decayed, others = _by_decay([p for p in parameters if p.requires_grad])
    shapes = [p.shape for p in (*decayed, *others)]
    own = {"step", "exp_avg", "exp_avg_sq"} if adam else {"momentum_buffer"}
    for index, values in state.items():
        known = 0 <= index < len(shapes) and values.keys() <= own and (values.keys() in (set(), own) or not adam)
        if not known or not all(_fits(key, value, shapes[index]) for key, value in values.items()):
            raise CheckpointError(f"the checkpoint's optimizer state of parameter {index} does not fit this model's")


def _by_decay(trained: list[torch.nn.Parameter]) -> tuple[list[torch.nn.Parameter], list[torch.nn.Parameter]]:
    """Return those that decay and the others, which is the order in which an optimizer numbers them."""
    return [p for p in trained if p.ndim >= 2], [p for p in trained if p.ndim < 2]


def _fits(key: str, value: Any, shape: torch.Size) -> bool:
    if not isinstance(value, torch.Tensor):
        return value is None or isinstance(value, (int, float))
    return value.is_floating_point() and (value.dim() == 0 if key == "step" else value.shape == shape)
