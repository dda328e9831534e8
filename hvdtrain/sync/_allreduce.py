"""`hvd.DistributedOptimizer` as the loop uses it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import torch

from hvdtrain.sync._strategy import Replicated, apply
from hvdtrain.world import guard

if TYPE_CHECKING:
    from hvdtrain.sync.allreduce import Config

_NAP = 2e-4
"""Seconds: a thousandth of a step that is worth distributing on CPUs."""


class AllReduce(Replicated):
    """`hvd.DistributedOptimizer` with the order of calls that clipping and gradient scaling need (Horovod #3160)."""

    def __init__(self, hvd: Any, optimizer: Any, config: Config, parameters: list[torch.nn.Parameter]) -> None:
        super().__init__(optimizer, parameters)
        self._hvd = hvd
        self.loss_factor = float(hvd.size()) if config.op == "sum" else 1.0
        self._wire_bytes = [2 if config.compression == "fp16" else p.element_size() for p in parameters]
        sizes = (p.numel() * width for p, width in zip(parameters, self._wire_bytes, strict=True))
        self.bytes_per_step = float(sum(sizes))

    def synchronize(self) -> None:
        if self.parameters[0].device.type == "cpu":
            self._sleep_until_reduced()
        guard(self.optimizer.synchronize)

    def _sleep_until_reduced(self) -> None:
        """Horovod waits by asking without a pause, on a core that its own engine, or another worker, could use."""
        for handle, _ in list(self.optimizer._handles.values()):
            while isinstance(handle, int) and not self._hvd.poll(handle):
                time.sleep(_NAP)

    def step(self, scaler: torch.amp.GradScaler | None) -> None:
        with self.optimizer.skip_synchronize():
            apply(self.optimizer, scaler)

    def probe(self) -> float | None:
        """Return the median seconds of five all-reduces of tensors like the gradients, nothing else running."""
        tensors = [
            torch.zeros(p.numel(), dtype=torch.float16 if width == 2 else p.dtype, device=p.device)
            for p, width in zip(self.parameters, self._wire_bytes, strict=True)
        ]
        seconds = []
        for repeat in range(6):
            guard(self._hvd.barrier)
            start = time.perf_counter()
            handles = [
                self._hvd.allreduce_async_(t, name=f"probe.{i}", op=self._hvd.Sum) for i, t in enumerate(tensors)
            ]
            _wait(self._hvd, handles)
            if repeat:
                seconds.append(time.perf_counter() - start)
        return sorted(seconds)[len(seconds) // 2]


def _wait(hvd: Any, handles: list[int]) -> None:
    guard(lambda: [hvd.synchronize(handle) for handle in handles])
