"""Synchronised BatchNorm on real workers with unequal batches, one of them empty, against torch's on the whole batch.

Each worker makes the reference for itself: it knows the batches of all.
"""

from __future__ import annotations

import copy

import torch
from torch import nn

from hvdtrain import world as worlds
from hvdtrain.sync._batchnorm import convert

CLASSES = 4

world = worlds.start({"HOROVOD_CYCLE_TIME": "1"})
torch.manual_seed(0)
reference = nn.Sequential(
    nn.Conv2d(2, 6, 3, padding=1, bias=False),
    nn.BatchNorm2d(6),
    nn.ReLU(),
    nn.Conv2d(6, 5, 3),
    nn.BatchNorm2d(5),
    nn.Flatten(),
    nn.Linear(5 * 9, 8),
    nn.BatchNorm1d(8, momentum=None),
    nn.Tanh(),
    nn.Linear(8, CLASSES),
).double()
model = convert(copy.deepcopy(reference), world)


def batch(step: int, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Step 0: equal counts; 1: unequal ones; 2: the last worker has nothing; 3: the first worker has everything."""
    count = [4, 2 + 3 * rank, 0 if rank == world.size - 1 else 5, 0 if rank else 6][step]
    generator = torch.Generator().manual_seed(100 * step + rank)
    images = torch.randn(count, 2, 5, 5, generator=generator, dtype=torch.float64) * (rank + 1) + rank
    return images, torch.randint(CLASSES, (count,), generator=generator)


def gradients(network: nn.Module, images: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return outputs and the gradient of the images, for the sum of the losses."""
    images = images.requires_grad_()
    network.zero_grad()
    outputs = network(images)
    nn.functional.cross_entropy(outputs, targets, reduction="sum").backward()
    return outputs.detach(), images.grad


close = {"rtol": 1e-8, "atol": 1e-10}
for step in range(4):
    batches = [batch(step, rank) for rank in range(world.size)]
    counts = [len(targets) for _, targets in batches]
    expected = gradients(reference, torch.cat([i for i, _ in batches]), torch.cat([t for _, t in batches]))
    found = gradients(model, *batch(step, world.rank))
    for own, whole in zip(found, expected, strict=True):
        torch.testing.assert_close(own, whole.split(counts)[world.rank], **close)
    for (name, p), q in zip(model.named_parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(world.start_sum(p.grad.clone(), name).wait(), q.grad, **close)
    for own, whole in zip(model.buffers(), reference.buffers(), strict=True):
        torch.testing.assert_close(own, whole, **close)

# A first layer whose input needs no gradient has no collective in its backward pass, on any worker.
first = convert(nn.BatchNorm1d(3), world)
first(torch.ones(world.rank, 3) * world.rank).sum().backward()

print(f"batch norms agree on worker {world.rank} of {world.size}")
world.close()
