"""The base of strategies whose workers each follow the gradient of their own share, with an optimizer of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from hvdtrain.sync._strategy import NamedParameters, Replicated
from hvdtrain.world import World


class Apart(Replicated):
    """Each worker's share counts as the whole batch: its loss, its gradient's norm and its clipping are its own.

    The workers' optimizer states differ. `state_dict` gives their mean, with which any strategy and any number of
    workers can go on; `own_state` gives each worker's, with which the same number goes on bit for bit.
    """

    coupled = False
    publishes = True

    def __init__(
        self, name: str, optimizer: torch.optim.Optimizer, named_parameters: NamedParameters, world: World
    ) -> None:
        """Take over an optimizer; `name` is the strategy's, under which its workers' own state is kept."""
        super().__init__(optimizer, [p for _, p in named_parameters])
        self.name = name
        self.world = world
        self.loss_factor = float(world.size)

    def _state(self) -> Iterator[tuple[str, int, str, Tensor]]:
        """Yield the tensors of the optimizer's state: a name for each, its parameter's index, its key, itself."""
        held = (p for group in self.optimizer.param_groups for p in group["params"])
        for index, p in enumerate(held):
            for key, value in self.optimizer.state.get(p, {}).items():
                if isinstance(value, Tensor):
                    yield f"{self.name}.state.{index}.{key}", index, key, value

    def _even_out(self) -> None:
        """Let all workers have entries for the same parameters: one whose updates were all skipped has none yet, and
        zeros are what an optimizer begins with.
        """
        held = [p for group in self.optimizer.param_groups for p in group["params"]]
        mine = {
            name: [index, key, list(value.shape), str(value.dtype), value.device.type]
            for name, index, key, value in self._state()
        }
        for theirs in self.world.gather(mine):
            # In their order: it is that of the collectives.
            for name in [name for name in theirs if name not in mine]:
                index, key, shape, dtype, device = mine[name] = theirs[name]
                zeros = torch.zeros(shape, dtype=getattr(torch, dtype.removeprefix("torch.")), device=device)
                self.optimizer.state[held[index]][key] = zeros

    def state_dict(self) -> dict[str, Any]:
        """Return the mean of the workers' states; what has no entry for each element, as a count of steps, is alike."""
        self._even_out()
        state = super().state_dict()
        entries = {index: dict(values) for index, values in state["state"].items()}
        pending = [
            (index, key, self.world.start_sum(value.clone(), name))
            for name, index, key, value in self._state()
            if value.dim() > 0
        ]
        for index, key, total in pending:
            entries[index][key] = total.wait().div_(self.world.size)
        return state | {"state": entries}

    def own_state(self) -> dict[str, Tensor]:
        return {name: value for name, _, _, value in self._state()}

    def load_own_state(self, rows: Mapping[str, Tensor], rank: int) -> None:
        """Take over this worker's optimizer state; another number of workers keeps the mean, which it has already."""
        for name, _, _, value in self._state():
            own = rows.get(name)
            if own is not None and len(own) == self.world.size:
                value.copy_(own[rank])
