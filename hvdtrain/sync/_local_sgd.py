"""Local updates and averages of parameters. L are the elements of all parameters together, n the workers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hvdtrain.eager import SGD
from hvdtrain.errors import SetupError
from hvdtrain.sync._apart import Apart
from hvdtrain.sync._strategy import NamedParameters, apply
from hvdtrain.world import World

if TYPE_CHECKING:
    from hvdtrain.sync.local_sgd import Config, Outer


class LocalSGD(Apart):
    """Every worker updates all parameters by itself, and every so many updates they become the workers' mean.

    The model's parameters are views of one flat buffer (L,). Optimizer states are never averaged.
    """

    def __init__(
        self, config: Config, optimizer: torch.optim.Optimizer, named_parameters: NamedParameters, world: World
    ) -> None:
        super().__init__("local_sgd", optimizer, named_parameters, world)
        self._config = config
        self._average_name = f"local_sgd.{named_parameters[0][0]}"
        self._flat = _flatten([p for _, p in named_parameters])
        self._outer = OuterSGD(config.outer, self._flat, world) if config.outer else None
        self._updates = 0
        self._since = 0
        self._kept: Tensor | None = None
        self._counted, self._averages = 0, 0
        self._bytes = self._flat.numel() * self._flat.element_size()
        self.bytes_per_step = self._bytes / config.period

    def step(self, scaler: torch.amp.GradScaler | None) -> None:
        if self._outer is not None and self._since == 0:
            self._outer.begin(self._flat)
        apply(self.optimizer, scaler)
        self._count()

    def discard(self) -> None:
        """The update counts: the others make theirs, and all average after as many."""
        if self._outer is not None and self._since == 0:
            self._outer.begin(self._flat)
        self.zero_grad()
        self._count()

    def _count(self) -> None:
        self._updates += 1
        self._since += 1

    def publish(self) -> None:
        """At the end of a period let all workers begin the next one with the same parameters."""
        self._counted += 1
        self._averages += self._is_due()
        self.bytes_per_step = self._bytes * self._averages / self._counted
        if not self._is_due():
            return
        self._average()
        if self._outer is not None and self._updates > self._config.warmup_steps:
            self._outer.step(self._flat)
        self._since = 0

    def _is_due(self) -> bool:
        return self._since >= self._config.period or self._updates <= self._config.warmup_steps

    def _average(self) -> None:
        summed = self.world.start_sum(self._flat, self._average_name).wait()
        self._flat.copy_(summed.div_(self.world.size))

    @contextmanager
    def agreed(self) -> Iterator[None]:
        """Let the model be the mean of the workers', which differ between two averages."""
        if self._since == 0:
            yield
            return
        self._kept = self._flat.clone()
        self._average()
        try:
            yield
        finally:
            self._flat.copy_(self._kept)
            self._kept = None

    def own_state(self) -> dict[str, Tensor]:
        """Return where this worker stands: its parameters where they differ, and its share of what is alike."""
        state = super().own_state()
        state["local_sgd.progress"] = torch.tensor([self._updates, self._since])
        if self._since:
            state["local_sgd.parameters"] = self._flat.clone() if self._kept is None else self._kept
        if self._outer is not None:
            state |= self._outer.pieces(self._since > 0)
        return state

    def load_own_state(self, rows: Mapping[str, Tensor], rank: int) -> None:
        """Go on where the workers stood; another number of them goes on from the parameters that the model has, with
        what is left of the period. Rows of another strategy begin a period.
        """
        super().load_own_state(rows, rank)
        progress = rows.get("local_sgd.progress")
        self._updates, self._since = (0, 0) if progress is None else map(int, progress[0])
        if self._outer is not None:
            self._outer.load(rows, self._flat)
        own = rows.get("local_sgd.parameters")
        if own is not None and len(own) == self.world.size:
            self._flat.copy_(own[rank])


class OuterSGD:
    """The outer optimizer (DiLoCo, algorithm 1): alike on all workers."""

    def __init__(self, options: Outer, flat: Tensor, world: World) -> None:
        self._world = world
        self._anchor = torch.nn.Parameter(flat.clone())
        self._optimizer = SGD([self._anchor], lr=options.lr, momentum=options.momentum, nesterov=options.nesterov)

    def begin(self, flat: Tensor) -> None:
        """Remember the parameters (L,) that a period begins with."""
        self._anchor.data.copy_(flat)

    def step(self, flat: Tensor) -> None:
        """Turn the mean of the workers' parameters (L,) into those of the next period, in place."""
        self._anchor.grad = self._anchor.detach() - flat
        self._optimizer.step()
        self._anchor.grad = None
        flat.copy_(self._anchor.detach())

    def pieces(self, with_anchor: bool) -> dict[str, Tensor]:
        """Return this worker's share of the state, one n-th of each vector: what is alike need be kept once only."""
        momentum = self._optimizer.state[self._anchor].get("momentum_buffer")
        found = {"local_sgd.momentum": momentum, "local_sgd.anchor": self._anchor.detach() if with_anchor else None}
        return {name: self._piece(vector) for name, vector in found.items() if vector is not None}

    def _piece(self, vector: Tensor) -> Tensor:
        count = -(-len(vector) // self._world.size)
        padded = torch.nn.functional.pad(vector, (0, count * self._world.size - len(vector)))
        return padded.view(self._world.size, count)[self._world.rank].clone()

    def load(self, rows: Mapping[str, Tensor], flat: Tensor) -> None:
        """Put the vectors together, of however many shares; without any, begin at the model's parameters (L,)."""
        anchor, momentum = (rows.get(f"local_sgd.{name}") for name in ("anchor", "momentum"))
        self._anchor.data.copy_(flat if anchor is None else anchor.flatten()[: len(flat)])
        self._optimizer.state.clear()
        if momentum is not None:
            self._optimizer.state[self._anchor]["momentum_buffer"] = momentum.flatten()[: len(flat)].to(flat).clone()


def _flatten(parameters: list[torch.nn.Parameter]) -> Tensor:
    """Move parameters into one buffer (L,), of which they become views."""
    if len({(p.dtype, p.device) for p in parameters}) > 1:
        raise SetupError(
            "parameters of several types or devices can't be averaged in one: use sync.name=adasum, or one worker"
        )
    flat = torch.cat([p.detach().flatten() for p in parameters])
    for p, values in zip(parameters, torch.split(flat, [p.numel() for p in parameters]), strict=True):
        p.data = values.view(p.shape)
    return flat
