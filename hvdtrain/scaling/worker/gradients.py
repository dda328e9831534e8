"""When backward makes each gradient: what a model of overlap has to know of a network."""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from hvdtrain.tasks._task import Batch
    from hvdtrain.train.loop import Loop, PhaseRun

_REPEATS = 3


def ready_times(loop: Loop) -> list[tuple[int, float, str]]:
    """Return (bytes, seconds after the beginning of backward, name) of each gradient, as backward makes them.

    Medians of three passes over one micro batch, of all phases one after another; no update is made.
    """
    batch = {name: tensor.to(loop.device) for name, tensor in next(loop.loader)[-1].items()}
    names = {id(p): name for name, p in loop.model.named_parameters()}
    found: list[tuple[int, float, str]] = []
    offset = 0.0
    for run in loop.phases:
        passes = [_one_pass(loop, run, batch) for _ in range(_REPEATS)]
        for p in run.parameters:
            if id(p) in passes[0]:
                seconds = median(one[id(p)] for one in passes)
                found.append((p.numel() * p.element_size(), offset + seconds, names[id(p)]))
        offset += max(passes[-1].values())
    return sorted(found, key=lambda row: row[1])


def _one_pass(loop: Loop, run: PhaseRun, batch: Batch) -> dict[int, float]:
    ready: dict[int, float] = {}

    def note(p: torch.Tensor) -> None:
        # A kernel that was only queued has not made a gradient; waiting for it costs more time than it would take.
        if p.is_cuda:
            torch.cuda.synchronize(p.device)
        ready[id(p)] = time.perf_counter()

    hooks = [p.register_post_accumulate_grad_hook(note) for p in run.parameters]  # type: ignore[no-untyped-call]
    with loop.precision.autocast():
        loss = run.phase.loss(loop.model, batch)
    began = time.perf_counter()
    torch.autograd.backward(loss)
    for hook in hooks:
        hook.remove()
    run.strategy.zero_grad()
    return {key: stamp - began for key, stamp in ready.items()}
