"""Global synchronisation: Horovod's DistributedOptimizer all-reduces gradients while backward still runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import PositiveInt

from hvdtrain.sync._config import EngineConfig

if TYPE_CHECKING:
    import torch

    from hvdtrain.sync._strategy import NamedParameters, Strategy
    from hvdtrain.world import World


class Config(EngineConfig):
    """Horovod's all-reduce and the knobs of its engine.

    `op: average` makes the gradient the mean over all valid targets of the global batch; `sum` makes it that mean times
    the number of workers. `groups` fuses the gradients into that many groups instead of by arrival.
    """

    scales_gradients = True

    name: Literal["allreduce"] = "allreduce"
    op: Literal["average", "sum"] = "average"
    compression: Literal["none", "fp16"] = "none"
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

    The engine always sums: each worker's loss is already divided by the global number of targets, which is right for
    unequal shares too, where the mean of the workers' means is not, and spares the engine a pass over the gradients.
    """
    import horovod.torch as hvd

    from hvdtrain.sync._allreduce import AllReduce

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
