"""Workers that each train a model of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from hvdtrain.sync._apart import Apart
from hvdtrain.sync._strategy import NamedParameters, Replicated
from hvdtrain.world import World


class Alone(Apart):
    """Nothing travels but what a checkpoint keeps: worker 0's model is the run's, those of the others are their own.

    Another number of workers goes on from worker 0's.
    """

    synchronises = False
    publishes = False

    def __init__(self, optimizer: torch.optim.Optimizer, named_parameters: NamedParameters, world: World) -> None:
        super().__init__("none", optimizer, named_parameters, world)
        self._named = {f"none.parameters.{name}": p for name, p in named_parameters}

    def state_dict(self) -> dict[str, Any]:
        """Return worker 0's state where the checkpoint is written: it belongs to worker 0's model."""
        return Replicated.state_dict(self)

    def own_state(self) -> dict[str, Tensor]:
        return super().own_state() | {name: p.detach() for name, p in self._named.items()}

    def load_own_state(self, rows: Mapping[str, Tensor], rank: int) -> None:
        super().load_own_state(rows, rank)
        for name, p in self._named.items():
            own = rows.get(name)
            if own is not None and len(own) == self.world.size:
                p.detach().copy_(own[rank])
