"""`hvd.DistributedOptimizer` over buckets: stretches of the flat buffers, each of which the engine reduces in place.

Horovod fuses small tensors by copying them into a buffer and out again, and negotiates each of them. Here gradients lie
in buckets of the fusion threshold's size from the start, so that the engine has few tensors to agree on and none to
copy. A bucket is handed over as soon as backward has filled it, so that it travels while backward goes on.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from hvdtrain.sync._flat import FlatBuffers, load_pieces, piece_state
from hvdtrain.sync._strategy import Replicated, apply
from hvdtrain.world import finish, guard, rest_until_done

if TYPE_CHECKING:
    from hvdtrain.sync.allreduce import Config


class AllReduce(Replicated):
    """The order of calls that clipping and gradient scaling need is that of Horovod #3160."""

    parameters: Sequence[torch.nn.Parameter]

    def __init__(
        self, hvd: Any, optimizer: torch.optim.Optimizer, config: Config, passes: int, limit: int, name: str
    ) -> None:
        """Wrap an optimizer without state.

        Args:
            passes: backward passes of an update.
            limit: bytes of a bucket; a parameter that is larger has one to itself.
            name: what this strategy's tensors are called, like no other's.
        """
        self._hvd = hvd
        # Horovod divides beforehand only where it averages: then a loss n times as large makes the mean a sum.
        divides = config.gradient_predivide_factor != 1.0
        self.loss_factor = float(hvd.size()) ** ((config.op == "sum") + divides)
        self.buffers = FlatBuffers(optimizer, passes)
        self._bucket_of: list[int] = []
        self._bounds: list[tuple[int, int]] = []
        self._cut(config.groups, limit)
        self.parameters = self._pieces(optimizer)
        compression = hvd.Compression.fp16 if config.compression == "fp16" else hvd.Compression.none
        self._names = [f"{name}.{i}" for i in range(len(self.parameters))]
        self.optimizer = hvd.DistributedOptimizer(
            optimizer,
            named_parameters=list(zip(self._names, self.parameters, strict=True)),
            compression=compression,
            op=hvd.Average if divides else hvd.Sum,
            gradient_predivide_factor=config.gradient_predivide_factor,
        )
        self._give_gradients(range(len(self.parameters)))
        self._missing = self._counts()
        self.buffers.on_ready = self._ready
        self._wire = torch.float16 if config.compression == "fp16" else self.buffers.values.dtype
        self.bytes_per_step = float(self.buffers.values.numel() * self._wire.itemsize)

    def _cut(self, groups: int | None, limit: int) -> None:
        """Cut the parameters into buckets of at most `limit` bytes, or into so many of about equal size.

        A bucket is one parameter to the optimizer, so that it does not reach from one of its groups into the next.
        """
        buffers = self.buffers
        width = buffers.values.element_size()
        most = max(1, -(-buffers.values.numel() // groups) if groups else limit // width)
        first_of_groups = {begin for begin, _ in buffers.group_bounds()}
        for p, start in zip(buffers.every, buffers.starts, strict=False):
            end = start + p.numel()
            if start in first_of_groups or end - self._bounds[-1][0] > most:
                self._bounds.append((start, end))
            else:
                self._bounds[-1] = (self._bounds[-1][0], end)
            self._bucket_of.append(len(self._bounds) - 1)

    def _pieces(self, optimizer: torch.optim.Optimizer) -> list[torch.nn.Parameter]:
        pieces = [torch.nn.Parameter(self.buffers.values[low:high]) for low, high in self._bounds]
        for group, (begin, end) in zip(optimizer.param_groups, self.buffers.group_bounds(), strict=True):
            inside = (p for p, (low, high) in zip(pieces, self._bounds, strict=True) if begin <= low and high <= end)
            group["params"] = list(inside)
        return pieces

    def _give_gradients(self, buckets: Iterable[int]) -> None:
        for bucket in buckets:
            low, high = self._bounds[bucket]
            self.parameters[bucket].grad = self.buffers.gradients[low:high]

    def _counts(self) -> list[int]:
        return [self._bucket_of.count(bucket) for bucket in range(len(self._bounds))]

    def _ready(self, index: int) -> None:
        """Hand the bucket of a parameter over when its last gradient has come.

        Horovod would do so in a hook of its own on each parameter; those of the buckets never see a backward pass.
        """
        bucket = self._bucket_of[index]
        self._missing[bucket] -= 1
        if not self._missing[bucket]:
            self._start(bucket)

    def _start(self, bucket: int) -> None:
        p = self.parameters[bucket]
        start = partial(self.optimizer._allreduce_grad_async, p)
        self.optimizer._handles[p] = guard(start, self._names[bucket])

    def synchronize(self) -> None:
        self.buffers.complete()
        self._missing = self._counts()
        for bucket, p in enumerate(self.parameters):
            if p not in self.optimizer._handles:
                self._start(bucket)
        for name, p in zip(self._names, self.parameters, strict=True):
            rest_until_done([self.optimizer._handles[p][0]], name)
        guard(self.optimizer.synchronize, self._names[-1])
        if self._wire != self.buffers.values.dtype:
            self._take_back()

    def _take_back(self) -> None:
        """What was compressed comes back in memory of its own."""
        for bucket, (p, (low, high)) in enumerate(zip(self.parameters, self._bounds, strict=True)):
            assert p.grad is not None
            self.buffers.gradients[low:high].copy_(p.grad)
            self._give_gradients([bucket])

    def step(self, scaler: torch.amp.GradScaler | None) -> None:
        with self.optimizer.skip_synchronize():
            apply(self.optimizer, scaler)

    def zero_grad(self) -> None:
        """Nothing is to do: the next gradients take the place of these."""

    def state_dict(self) -> dict[str, Any]:
        scalars, vectors = piece_state(self.optimizer, self.parameters)
        whole: dict[str, Any] = self.buffers.state_dict(self.optimizer.param_groups, scalars, vectors)
        return whole

    def load_state_dict(self, state: dict[str, Any]) -> None:
        scalars, vectors = self.buffers.split_state(state["state"])
        load_pieces(self.optimizer, self.parameters, 0, state["param_groups"], scalars, vectors)

    def probe(self) -> float | None:
        """Return the median seconds of five all-reduces of tensors like the buckets, nothing else running."""
        tensors = {
            f"probe.{i}": torch.zeros(p.numel(), dtype=self._wire, device=p.device)
            for i, p in enumerate(self.parameters)
        }
        seconds = []
        for repeat in range(6):
            guard(self._hvd.barrier, "a barrier")
            start = time.perf_counter()
            handles = {}
            for name, tensor in tensors.items():
                begin_sum = partial(self._hvd.allreduce_async_, tensor, name=name, op=self._hvd.Sum)
                handles[name] = guard(begin_sum, name)
            for name, handle in handles.items():
                finish(handle, name)
            if repeat:
                seconds.append(time.perf_counter() - start)
        return sorted(seconds)[len(seconds) // 2]
