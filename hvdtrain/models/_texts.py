"""What the classifiers of texts share: which tokens count, dropping whole tokens, and pooling over those that count.

A text ends with the first padding id, which is read like any token; what follows is padding, and never changes a
result. Shapes: B texts, T tokens, C channels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def valid_tokens(ids: Tensor, pad_id: int) -> Tensor:
    """Return (B, T) bool: True for the tokens of a text, the end of text among them, False for padding after it."""
    ends = (ids == pad_id).long()
    return ends.cumsum(1) - ends == 0


class TokenDropout(nn.Module):
    """Leaves out whole tokens in training, each with probability `p`, and scales up the others (Iyyer et al. 2015,
    https://aclanthology.org/P15-1162, section 3: word dropout)."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, T, C) for (B, T, C)."""
        if not self.training or not self.p:
            return x
        return x * F.dropout(x.new_ones(*x.shape[:2], 1), self.p)


def masked_mean(x: Tensor, valid: Tensor) -> Tensor:
    """Return the mean (B, C) over the valid tokens of (B, T, C)."""
    return (x * valid[..., None]).sum(1) / valid.sum(1, keepdim=True).clamp(min=1)


def masked_max(x: Tensor, valid: Tensor) -> Tensor:
    """Return the largest value (B, C) of each channel over the valid tokens of (B, T, C)."""
    return x.masked_fill(~valid[..., None], -torch.inf).amax(1)
