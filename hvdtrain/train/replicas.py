"""Whether the workers still have the same model: what should be alike, and would drift apart unseen if it were not."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from hvdtrain.errors import DivergedError
from hvdtrain.world import World


def check(tensors: Mapping[str, torch.Tensor], world: World, training: int, step: int) -> None:
    """Compare checksums of the tensors over the workers of the first `training` ranks; all workers call it together.

    A bit that flipped in memory, a library that computes otherwise on one host, or a parameter that was changed on one
    worker only: the gradients that come after are sums over different models, and no loss tells.

    Raises:
        DivergedError: they differ; raised on all workers, names the first tensor that does and on which workers.
    """
    if training == 1:
        return
    everyone: list[list[int]] = world.gather([checksum(tensor) for tensor in tensors.values()])[:training]
    unlike = [index for index in range(len(tensors)) if len({sums[index] for sums in everyone}) > 1]
    if not unlike:
        return
    name, first = list(tensors)[unlike[0]], [sums[unlike[0]] for sums in everyone]
    workers = ", ".join(str(rank) for rank, value in enumerate(first) if value != first[0])
    others = f" (nor are {len(unlike) - 1} other tensors)" if len(unlike) > 1 else ""
    error = DivergedError(
        f"step {step}: the workers' models are no longer alike: {name} of worker {workers} is not worker 0's{others}; "
        "look at that worker's host (its memory, its versions), and run the same command again to resume"
    )
    error.shared = True
    raise error


def checksum(tensor: torch.Tensor) -> int:
    """Return the sum of a tensor's bits, taken as integers of its elements' width, modulo 2^64.

    It tells any single change, and values that were exchanged only if they are not of the same tensor.
    """
    integers = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    bits = tensor.detach().contiguous().view(integers[tensor.element_size()])
    return int(bits.sum(dtype=torch.int64))
