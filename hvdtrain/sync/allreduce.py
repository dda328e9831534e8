"""Global synchronisation: Horovod's DistributedOptimizer all-reduces gradients while backward still runs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

from pydantic import PositiveFloat, PositiveInt

from hvdtrain.sync._config import EngineConfig
from hvdtrain.sync._engine import defaults

if TYPE_CHECKING:
    import torch

    from hvdtrain.sync._strategy import NamedParameters, Strategy
    from hvdtrain.world import World


class Config(EngineConfig):
    """Horovod's all-reduce and the knobs of its engine.

    `op: average` makes the gradient the mean over all valid targets of the global batch; `sum` makes it that mean times
    the number of workers. Gradients travel in buckets of `fusion_threshold_mb`, or in `groups` buckets of equal size.
    Before they are summed they are divided by `gradient_predivide_factor`, and the sum is multiplied by it: sums of
    many workers' halves (`compression: fp16`) overflow without.
    """

    scales_gradients = True
    fuses = True

    name: Literal["allreduce"] = "allreduce"
    op: Literal["average", "sum"] = "average"
    compression: Literal["none", "fp16"] = "none"
    gradient_predivide_factor: PositiveFloat = 1.0
    groups: PositiveInt | None = None


def build(
    config: Config,
    optimizer: torch.optim.Optimizer,
    *,
    named_parameters: NamedParameters,
    backward_passes_per_step: int,
    world: World,
) -> Strategy:
    """Wrap the optimizer.

    The engine sums: each worker's loss is already divided by the global number of targets, which is right for
    unequal shares too, where the mean of the workers' means is not, and spares the engine a pass over the gradients.
    """
    import horovod.torch as hvd

    from hvdtrain.sync._allreduce import AllReduce

    name, first = named_parameters[0]
    limit = config.fusion_threshold_mb
    if limit == "auto":
        limit = defaults(on_gpu=first.is_cuda, environment=os.environ).fusion_threshold_mb
    asked = os.environ.get("HOROVOD_FUSION_THRESHOLD", "")
    most = int(asked) if asked.isdecimal() else int(limit * 2**20)
    return AllReduce(hvd, optimizer, config, backward_passes_per_step, most, f"gradients.{name}")
