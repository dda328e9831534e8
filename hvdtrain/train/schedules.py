"""The learning rate of each update: warm-up, decay, and how it follows the batch size."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """A function from the number of updates done to the learning rate of the next.

    The rate rises linearly to `peak` over `warmup_steps` updates, then goes to `min_lr` at `total_steps` along half a
    cosine (Loshchilov and Hutter 2017, SGDR, equation 5, without restarts) or a line, or stays.
    """

    shape: str
    peak: float
    min_lr: float
    warmup_steps: int
    total_steps: int
    rule: str = ""

    def __call__(self, step: int) -> float:
        if step < self.warmup_steps:
            return self.peak * (step + 1) / self.warmup_steps
        if self.shape == "constant":
            return self.peak
        done = min(1.0, (step - self.warmup_steps) / max(1, self.total_steps - self.warmup_steps))
        left = 0.5 * (1 + math.cos(math.pi * done)) if self.shape == "cosine" else 1 - done
        return self.min_lr + (self.peak - self.min_lr) * left


def scale_to_batch(lr: float, rule: str, base_batch_size: int | None, batch_size: int) -> tuple[float, str]:
    """Return the learning rate for a global batch, and the sentence that says how it came about.

    `linear` multiplies by batch/base (Goyal et al. 2017, section 2.1), `sqrt` by its square root. It follows the batch,
    not the number of workers.
    """
    if rule == "none" or base_batch_size is None:
        return lr, f"{lr:g} (no batch-size scaling)"
    power = 1.0 if rule == "linear" else 0.5
    scaled = lr * (batch_size / base_batch_size) ** power
    return scaled, f"{lr:g} x ({batch_size}/{base_batch_size})^{power:g} = {scaled:g} ({rule} batch-size scaling)"
