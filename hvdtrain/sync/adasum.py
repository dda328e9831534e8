"""Adasum: workers' updates are added as far as they are orthogonal, and averaged as far as they are parallel.

Maleki et al. 2020 (https://arxiv.org/abs/2006.02924): two updates a and b of a layer become
(1 - <a, b> / 2|a|^2) a + (1 - <a, b> / 2|b|^2) b, four of them the Adasum of two Adasums, and so on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from hvdtrain.sync._config import EngineConfig

if TYPE_CHECKING:
    import torch

    from hvdtrain.sync._strategy import NamedParameters, Strategy
    from hvdtrain.world import World


class Config(EngineConfig):
    """Horovod's Adasum of what each worker's optimizer did on its own share. MPI, and 2, 4, 8, ... workers."""

    coupled = False

    name: Literal["adasum"] = "adasum"

    def problem(self, size: int, controller: str) -> str | None:
        """Horovod combines in pairs, pairs of pairs and so on, and has it for MPI alone."""
        if size & (size - 1):
            below = 2 ** (size.bit_length() - 1)
            return (
                f"Adasum combines workers in pairs and needs 2, 4, 8, ... of them, not {size}; start {below} or "
                f"{2 * below}, or set sync.name to allreduce"
            )
        if controller != "mpi":
            return (
                "Horovod has Adasum under MPI only, and these workers are coordinated by Gloo; start them with --mpi "
                "(hvdtrain doctor tells whether this Horovod has it), or set sync.name to allreduce"
            )
        return None


def build(
    config: Config,
    optimizer: torch.optim.Optimizer,
    *,
    named_parameters: NamedParameters,
    backward_passes_per_step: int,
    world: World,
) -> Strategy:
    """Wrap the optimizer.

    Horovod's own wrapper steps inside backward, where this step's learning rate and clipping are not known yet.
    """
    from hvdtrain.sync._adasum import AdaSum

    return AdaSum(optimizer, named_parameters, world)
