"""Global synchronisation: Horovod's DistributedOptimizer all-reduces gradients while backward still runs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Literal

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from hvdtrain.registry import RegisteredConfig

if TYPE_CHECKING:
    import torch

    from hvdtrain.sync._strategy import NamedParameters


class Config(RegisteredConfig):
    """Horovod's all-reduce and the knobs of its engine.

    `op: average` makes the gradient the mean over all valid targets of the global batch; `sum` makes it that mean times
    the number of workers. `groups` fuses the gradients into that many groups instead of by arrival. The two knobs at
    the end are the engine's: `auto` leaves them to what suits the device.
    """

    name: Literal["allreduce"] = "allreduce"
    op: Literal["average", "sum"] = "average"
    compression: Literal["none", "fp16"] = "none"
    groups: PositiveInt | None = None
    fusion_threshold_mb: Literal["auto"] | NonNegativeFloat = "auto"
    cycle_time_ms: Literal["auto"] | PositiveFloat = "auto"


_NAP = 2e-4
"""Seconds: a thousandth of a step that is worth distributing on CPUs."""


class AllReduce:
    """`hvd.DistributedOptimizer` with the order of calls that clipping and gradient scaling need (Horovod #3160)."""

    coupled = True

    def __init__(self, hvd: Any, optimizer: Any, config: Config, parameters: list[torch.nn.Parameter]) -> None:
        self._hvd = hvd
        self.optimizer = optimizer
        self.loss_factor = float(hvd.size()) if config.op == "sum" else 1.0
        self._wire_bytes = [2 if config.compression == "fp16" else p.element_size() for p in parameters]
        self._parameters = parameters
        self.bytes_per_step = sum(p.numel() * width for p, width in zip(parameters, self._wire_bytes, strict=True))

    def synchronize(self) -> None:
        from hvdtrain.world import guard

        if self._parameters[0].device.type == "cpu":
            self._sleep_until_reduced()
        guard(self.optimizer.synchronize)

    def _sleep_until_reduced(self) -> None:
        """Horovod waits by asking without a pause, on a core that its own engine, or another worker, could use."""
        for handle, _ in list(self.optimizer._handles.values()):
            while isinstance(handle, int) and not self._hvd.poll(handle):
                time.sleep(_NAP)

    def step(self, scaler: torch.amp.GradScaler | None) -> None:
        from hvdtrain.sync._strategy import apply

        with self.optimizer.skip_synchronize():
            apply(self.optimizer, scaler)

    def zero_grad(self) -> None:
        self.optimizer.zero_grad()

    def probe(self) -> float | None:
        """Return the median seconds of five all-reduces of tensors like the gradients, nothing else running."""
        import torch

        from hvdtrain.world import guard

        tensors = [
            torch.zeros(p.numel(), dtype=torch.float16 if width == 2 else p.dtype, device=p.device)
            for p, width in zip(self._parameters, self._wire_bytes, strict=True)
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
    from hvdtrain.world import guard

    guard(lambda: [hvd.synchronize(handle) for handle in handles])


def build(
    config: Config,
    optimizer: torch.optim.Optimizer,
    *,
    named_parameters: NamedParameters,
    backward_passes_per_step: int,
    size: int,
) -> AllReduce:
    """Wrap the optimizer.

    The engine always sums: each worker's loss is already divided by the global number of targets, which is right for
    unequal shares too, where the mean of the workers' means is not, and spares the engine a pass over the gradients.
    """
    import horovod.torch as hvd

    trained = [(name, p) for name, p in named_parameters if p.requires_grad]
    wrapped = hvd.DistributedOptimizer(
        optimizer,
        named_parameters=trained,
        compression=hvd.Compression.fp16 if config.compression == "fp16" else hvd.Compression.none,
        backward_passes_per_step=backward_passes_per_step,
        op=hvd.Sum,
        groups=config.groups,
    )
    return AllReduce(hvd, wrapped, config, [p for _, p in trained])
