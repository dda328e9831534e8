"""`hvdtrain train` with a fault planted: FAULT RANK STEP, then the command's arguments.

raise: that worker raises an exception of no expected kind; nan: its loss is not a number the first time that it does
that step; refuse: a data error of its own; bit: a bit of one of its weights flips. STEP 0 is the last one.
"""

from __future__ import annotations

import sys

import torch

from hvdtrain.__main__ import main
from hvdtrain.errors import DataError
from hvdtrain.train.loop import Loop

fault, rank, step = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
sys.argv[1:4] = []
update, done = Loop._update, []


def faulty(self: Loop):
    if self.world.rank != rank or self.step != (step or self.total_steps) - 1 or done:
        return update(self)
    done.append(step)
    if fault == "raise":
        raise RuntimeError(" ".join(["the", "planted", "fault"]))
    if fault == "refuse":
        raise DataError("the planted data error")
    if fault == "bit":
        weights = dict(self.model.named_parameters())["blocks.1.attention_norm.weight"].data
        weights.view(-1)[:1].view(torch.int32).bitwise_xor_(1 << 12)
        return update(self)
    phase = self.phases[0].phase
    loss = phase.loss
    object.__setattr__(phase, "loss", lambda *args: loss(*args) * float("nan"))
    try:
        return update(self)
    finally:
        object.__setattr__(phase, "loss", loss)


Loop._update = faulty
main()
