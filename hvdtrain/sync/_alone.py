"""Workers that each train a model of their own; one worker alone is one of them."""

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

    Another number of workers goes on from worker 0's model and state.
    """

    publishes = False

    def __init__(self, optimizer: torch.optim.Optimizer, named_parameters: NamedParameters, world: World) -> None:
        super().__init__("none", optimizer, named_parameters, world)
        self._named = {f"none.parameters.{name}": p.detach() for name, p in named_parameters}
        self.coupled = self.synchronises = world.size == 1

    def state_dict(self) -> dict[str, Any]:
        """Return this worker's state: worker 0 writes the checkpoint, of its own model."""
        self._even_out()
        return Replicated.state_dict(self)

    def own_state(self) -> dict[str, Tensor]:
        return {} if self.world.size == 1 else super().own_state() | self._named

    def load_own_state(self, rows: Mapping[str, Tensor], rank: int) -> None:
        """Take over this worker's model and state, or worker 0's where there were more or fewer: what the model has
        may be another's, that of an elastic job's commit.
        """
        mine = {name: value for name, _, _, value in self._state()} | self._named
        for name, value in mine.items():
            own = rows.get(name)
            if own is not None:
                value.copy_(own[rank if len(own) == self.world.size else 0])
