"""Cross entropy over a vocabulary, whose gradient takes the place of the logits.

PyTorch keeps the logarithms of all probabilities for the backward pass, and makes two more tensors as large in it: the
largest ones that there are in a small language model. Here the logits are the only one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

IGNORED = -100
"""A target that stands for no token."""

_CHUNK = 2**18
"""Elements: 1 MB in float32, which a core's own cache holds while its loss and gradient are made."""


def summed_cross_entropy(logits: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Return the sum over targets (N,), but those that are `IGNORED`, of -log p(target), in nats, computed in float32.

    On a CPU the backward pass overwrites logits (N, V) with their gradient: nothing else may need them then.

    Args:
        label_smoothing: the share of each target that is spread over the V classes
            (https://arxiv.org/abs/1512.00567, section 7).
    """
    if logits.is_cpu and logits.requires_grad:
        return _InPlace.apply(logits, targets, label_smoothing)  # type: ignore[no-untyped-call, no-any-return]
    return _plain(logits, targets, label_smoothing)


def _plain(logits: Tensor, targets: Tensor, label_smoothing: float) -> Tensor:
    return cross_entropy(
        logits.float(), targets, ignore_index=IGNORED, reduction="sum", label_smoothing=label_smoothing
    )


class _InPlace(torch.autograd.Function):
    """Makes the loss, and in the backward pass once more with the gradient, a few rows at a time."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor, label_smoothing: float) -> Tensor:
        ctx.save_for_backward(logits, targets)
        ctx.label_smoothing = label_smoothing
        losses = [_plain(rows, wanted, label_smoothing) for rows, wanted in _chunks(logits, targets)]
        return torch.stack(losses).sum()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None]:
        logits, targets = ctx.saved_tensors
        for rows, wanted in _chunks(logits, targets):
            with torch.enable_grad():
                leaf = rows.float().detach().requires_grad_()
                # Given as the gradient's start, `upstream` would have torch import sympy to compare two shapes: 0.5 s.
                loss = _plain(leaf, wanted, ctx.label_smoothing) * upstream
            rows.copy_(torch.autograd.grad(loss, leaf)[0])
        return logits, None, None


def _chunks(logits: Tensor, targets: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    rows = max(1, _CHUNK // logits.shape[1])
    return zip(torch.split(logits.detach(), rows), torch.split(targets, rows), strict=True)
