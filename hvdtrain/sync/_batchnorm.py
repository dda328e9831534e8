"""BatchNorm whose statistics are those of the micro batches of all workers together.

The k-th micro batch of every worker is one batch of the norm: n workers with micro batches of m samples normalise as
one worker does with n m. Gradient accumulation does not enlarge it: each micro batch has statistics of its own, and the
running ones move once for each. Every worker must make the same number of forward and backward passes, with an empty
batch where it has no samples: they are collectives.

The formulas are those of Ioffe and Szegedy 2015 (https://arxiv.org/abs/1502.03167), algorithm 1 and section 3, with
sums over all workers; `torch.nn.SyncBatchNorm` does the same on GPUs with torch.distributed.

Shapes: B samples, C channels, S places of a sample (1, or H x W, ...).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

from hvdtrain.world import Solo, World


def convert(model: nn.Module, world: World) -> nn.Module:
    """Return the model with each of its BatchNorm layers replaced by a synchronised one.

    Names, parameters and buffers stay the same objects; a layer that is used in several places stays one.
    """
    made: dict[nn.Module, SyncBatchNorm] = {}

    def replacement(module: nn.Module) -> nn.Module:
        if not isinstance(module, _BatchNorm) or isinstance(module, SyncBatchNorm):
            return module
        if module not in made:
            made[module] = SyncBatchNorm(module, world, f"batchnorm.{len(made)}")
        return made[module]

    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):
            if child is not None:
                parent._modules[name] = replacement(child)
    return replacement(model)


@contextmanager
def unsynchronised(model: nn.Module) -> Iterator[None]:
    """Let each worker compute with the statistics of its own batch, without collectives, as if it were alone; the
    running statistics keep their values."""
    layers = [module for module in model.modules() if isinstance(module, SyncBatchNorm)]
    worlds = [layer.world for layer in layers]
    kept = [{name: buffer.clone() for name, buffer in layer.named_buffers()} for layer in layers]
    for layer in layers:
        layer.world = Solo()
    try:
        yield
    finally:
        for layer, world, values in zip(layers, worlds, kept, strict=True):
            layer.world = world
            for name, buffer in layer.named_buffers():
                buffer.copy_(values[name])


class SyncBatchNorm(_BatchNorm):
    """A BatchNorm of any number of dimensions in training; in evaluation it is what `torch.nn.BatchNorm` is.

    Where all workers together have fewer than two numbers a channel, which have no variance, the running statistics
    stay as they are.
    """

    def __init__(self, layer: _BatchNorm, world: World, name: str) -> None:
        """Take over the layer's parameters, buffers and mode; `name` is that of its collectives, alike on all
        workers and used by no other."""
        super().__init__(
            layer.num_features, layer.eps, layer.momentum, affine=False, track_running_stats=layer.track_running_stats
        )
        self.affine = layer.affine
        self._parameters, self._buffers = layer._parameters, layer._buffers
        self.train(layer.training)
        self.world, self._name = world, name

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C, ...) for (B, C, ...); B may be 0, and may differ between workers."""
        self._check_input_dim(x)
        if not self.training:
            batch_statistics = self.running_mean is None
            return F.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, batch_statistics, 0.0, self.eps
            )
        count, mean, variance = _global_moments(x.detach(), self.world, f"{self._name}.forward")
        self._update_running(count, mean, variance)
        normalised: Tensor = _Normalise.apply(  # type: ignore[no-untyped-call]
            x, self.weight, self.bias, mean, variance, count, self.eps, self.world, f"{self._name}.backward"
        )
        return normalised

    def _check_input_dim(self, x: Tensor) -> None:
        if x.dim() < 2 or x.size(1) != self.num_features:
            raise ValueError(f"expected (B, {self.num_features}, ...), got {tuple(x.shape)}")

    def _update_running(self, count: float, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or count < 2:
            return
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        momentum = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        unbiased = variance * (count / (count - 1))
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), momentum)
        self.running_var.lerp_(unbiased.to(self.running_var.dtype), momentum)


class _Normalise(torch.autograd.Function):
    """(x - mean) / sqrt(variance + eps) * weight + bias, where mean and variance are functions of the x of all workers,
    and the gradient takes that into account."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor,
        variance: Tensor,
        count: float,
        eps: float,
        world: World,
        name: str,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mean, variance)
        ctx.count, ctx.eps, ctx.world, ctx.name = count, eps, world, name
        return F.batch_norm(x, mean, variance, weight, bias, False, 0.0, eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of x, weight and bias for that of the output, g.

        With s = 1 / sqrt(variance + eps) and x' = (x - mean) s, that of x is
        weight s (g - sum(g) / N - x' sum(g x') / N), the sums being over all workers and N their count. Those of
        weight and bias, sum(g x') and sum(g), are this worker's share, as the gradient of every other parameter is.
        """
        x, weight, mean, variance = ctx.saved_tensors
        needs_input, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        direct, own_dot, own_sum = _backward_of_fixed(gradient, x, weight, mean, variance, ctx.eps)
        into_input = None
        if needs_input:
            sums = torch.stack([own_sum, own_dot]).double()
            total, dot = ctx.world.start_sum(sums, ctx.name).wait() / max(1.0, ctx.count)
            scale = (variance.double() + ctx.eps).rsqrt()
            factor = scale if weight is None else scale * weight
            shift, slope, middle = (
                _along_channels(values.to(mean.dtype), x) for values in (factor * total, factor * scale * dot, mean)
            )
            into_input = (direct - (x - middle).mul_(slope).add_(shift)).to(x.dtype)
        return into_input, own_dot if needs_weight else None, own_sum if needs_bias else None, *(None,) * 6


def _backward_of_fixed(
    gradient: Tensor, x: Tensor, weight: Tensor | None, mean: Tensor, variance: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradient into x where mean and variance are no functions of it, sum(g x') and sum(g)."""
    if not x.numel():
        return torch.zeros_like(x), torch.zeros_like(mean), torch.zeros_like(mean)
    found: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.native_batch_norm_backward(
        gradient, x, weight, mean, variance, None, None, False, eps, [True, True, True]
    )
    return found


def _global_moments(x: Tensor, world: World, name: str) -> tuple[float, Tensor, Tensor]:
    """Return count, mean (C,) and variance (C,) over all workers, in the type of x or float32 if that is shorter.

    A worker finds mean and variance of its own numbers first; what is summed are float64, in which the squares lose
    nothing that float32 holds.
    """
    channels = x.size(1)
    sums = torch.zeros(2 * channels + 1, dtype=torch.float64, device=x.device)
    wide = torch.promote_types(x.dtype, torch.float32)
    if x.numel():
        sums[-1] = count = x.numel() // channels
        variance, mean = torch.var_mean(x.to(wide), dim=[0, *range(2, x.dim())], correction=0)
        mean = mean.double()
        torch.stack([mean, variance.double() + mean * mean], out=sums[:-1].view(2, channels)).mul_(count)
    sums = world.start_sum(sums, name).wait()
    total = float(sums[-1])
    mean, squares = sums[:-1].view(2, channels) / max(1.0, total)
    variance = (squares - mean * mean).clamp(min=0.0)
    return total, mean.to(wide), variance.to(wide)


def _along_channels(values: Tensor, x: Tensor) -> Tensor:
    """Return (C,) as (1, C, 1, ...), of as many dimensions as x."""
    return values.view(1, -1, *(1,) * (x.dim() - 2))
