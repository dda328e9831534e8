"""Parameter server: workers send their gradients to it, it updates with the only optimizer state, and sends the
parameters back (Li et al. 2014, https://www.usenix.org/system/files/conference/osdi14/osdi14-paper-li_mu.pdf).

Synchronous: an update has the gradients of all workers, so that it equals one worker's on the whole batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import PositiveInt

from hvdtrain.sync._config import EngineConfig

if TYPE_CHECKING:
    import torch

    from hvdtrain.sync._strategy import NamedParameters, Strategy
    from hvdtrain.world import World


class Config(EngineConfig):
    """One server, or several that share the parameters out evenly.

    `placement: colocated` makes the first `servers` workers servers too, beside their training; `dedicated` takes the
    last `servers` workers out of the training: they have no data, and only serve.
    """

    rounds = 3

    name: Literal["parameter_server"] = "parameter_server"
    servers: PositiveInt = 1
    placement: Literal["colocated", "dedicated"] = "colocated"

    def problem(self, size: int, controller: str) -> str | None:
        if size > 1 and self.placement == "dedicated" and self.servers >= size:
            return (
                f"sync.servers = {self.servers} of {size} workers are dedicated servers, which leaves none to train; "
                f"start at least {self.servers + 1} workers, or set sync.placement=colocated"
            )
        if size > 1 and self.servers > size:
            return f"sync.servers = {self.servers}: there are {size} workers; set sync.servers to at most {size}"
        return None

    def training_workers(self, size: int) -> int:
        return size - self.servers if self.placement == "dedicated" and size > 1 else size

    def serving(self, size: int) -> range:
        """Return the ranks of the servers among so many workers, of which there is more than one."""
        first = size - self.servers if self.placement == "dedicated" else 0
        return range(first, first + self.servers)

    def notes(self, hosts: Sequence[str]) -> tuple[str, ...]:
        ranks = self.serving(len(hosts))
        where = ", ".join(f"rank {rank} on host {hosts[rank]}" for rank in ranks)
        training = self.training_workers(len(hosts))
        train = "1 worker trains" if training == 1 else f"{training} workers train"
        return (f"parameter server{'s' if len(ranks) > 1 else ''}: {where}, {self.placement}; {train}",)


def build(
    config: Config,
    optimizer: torch.optim.Optimizer,
    *,
    named_parameters: NamedParameters,
    backward_passes_per_step: int,
    world: World,
) -> Strategy:
    """Hand the parameters to the servers."""
    from hvdtrain.sync._parameter_server import ParameterServer

    serving, training = config.serving(world.size), config.training_workers(world.size)
    return ParameterServer(optimizer, world, serving, training, backward_passes_per_step)
