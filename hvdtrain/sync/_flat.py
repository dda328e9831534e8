"""Parameters and gradients of a phase in one flat buffer each, for strategies that move them in a few large pieces.

The model's parameters become views of the buffer of values. A gradient is moved into its place as soon as backward has
made it, while it is still in the cache, and its own memory is free again: nothing is copied together later, neither
here nor in Horovod's fusion buffer. Optimizers that treat each element by itself (SGD, Adam and their like) do to a
stretch of the buffer what they do to the parameters in it.

Shapes: L elements of all parameters together, and of what fills them up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor

from hvdtrain.errors import SetupError


class FlatBuffers:
    """`values` (L,) and `gradients` (L,) of the parameters of an optimizer's groups, one group behind the other.

    Within a group the last parameter comes first, because backward makes its gradient first.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, passes: int, length: int | None = None) -> None:
        """Move the parameters into the buffers.

        Args:
            optimizer: without state yet; it keeps its groups.
            passes: backward passes of an update.
            length: elements to fill the buffers up to.

        Raises:
            SetupError: the parameters are not all of one type on one device.
        """
        self.groups = [list(group["params"])[::-1] for group in optimizer.param_groups]
        self.every = [p for group in self.groups for p in group]
        if len({(p.dtype, p.device) for p in self.every}) > 1:
            raise SetupError(
                "parameters of several types or on several devices can't lie in one buffer: use sync.name=adasum, or "
                "one worker"
            )
        self.starts = list(accumulate((p.numel() for p in self.every), initial=0))
        self.values = self.every[0].new_zeros(length or self.starts[-1]).detach()
        self.gradients = torch.zeros_like(self.values)
        self.on_ready: Callable[[int], None] | None = None
        """Called with a parameter's index when its gradient of this update is complete."""
        self._passes = passes
        self._seen = [0] * len(self.every)
        for index, (p, value) in enumerate(zip(self.every, self.views(self.values), strict=True)):
            value.copy_(p.detach())
            p.data = value
            p.register_post_accumulate_grad_hook(self._mover(index))
        self._places = list(self.views(self.gradients))

    def views(self, flat: Tensor) -> Iterator[Tensor]:
        """Yield the stretch of a buffer (L,) that belongs to each of `every`, in its shape."""
        for p, start in zip(self.every, self.starts, strict=False):
            yield flat[start : start + p.numel()].view(p.shape)

    def group_bounds(self) -> list[tuple[int, int]]:
        """Return where the stretch of each group begins and ends."""
        return list(pairwise(accumulate((sum(p.numel() for p in group) for group in self.groups), initial=0)))

    def _mover(self, index: int) -> Callable[[torch.nn.Parameter], None]:
        def move(p: torch.Tensor) -> None:
            assert p.grad is not None
            if self._seen[index]:
                self._places[index].add_(p.grad)
            else:
                self._places[index].copy_(p.grad)
            p.grad = None
            self._seen[index] += 1
            if self._seen[index] == self._passes and self.on_ready is not None:
                self.on_ready(index)

        return move

    def complete(self) -> None:
        """End an update's gradients: those that backward made none of are zero. The next ones begin anew."""
        for index, seen in enumerate(self._seen):
            if not seen:
                self._places[index].zero_()
        self._seen = [0] * len(self.every)

    def state_dict(self, groups: Sequence[dict[str, Any]], scalars: dict[str, Any], vectors: dict[str, Tensor]) -> Any:
        """Return the state of an optimizer of all parameters as `torch.optim.Optimizer.state_dict` would.

        Args:
            groups: the optimizer's groups, for their hyperparameters.
            scalars: what its state holds once for a parameter, such as Adam's count.
            vectors: what it holds for each element, (L,) each.
        """
        state: dict[int, dict[str, Any]] = {i: {} for i in range(len(self.every))} if scalars or vectors else {}
        numbers = self._numbers()
        for key, flat in vectors.items():
            for number, view in zip(numbers, self.views(flat), strict=True):
                state[number][key] = view.clone()
        for values in state.values():
            values |= {key: torch.tensor(value) for key, value in scalars.items()}
        made, first = [], 0
        for group, whole in zip(groups, self.groups, strict=True):
            kept = {key: value for key, value in group.items() if key != "params"}
            made.append(kept | {"params": list(range(first, first + len(whole)))})
            first += len(whole)
        return {"state": state, "param_groups": made}

    def split_state(self, state: dict[int, dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Return the scalars and the vectors (L,) of a state that `state_dict` gave: the inverse of it."""
        scalars: dict[str, Any] = {}
        vectors: dict[str, Tensor] = {}
        # One worker's optimizer has no entry for a parameter that never had a gradient.
        for key, sample in max(state.values(), key=len, default={}).items():
            if not elementwise(sample):
                scalars[key] = sample
                continue
            vectors[key] = torch.zeros_like(self.values, dtype=sample.dtype)
            for number, view in zip(self._numbers(), self.views(vectors[key]), strict=True):
                if key in state.get(number, {}):
                    view.copy_(state[number][key])
        return scalars, vectors

    def _numbers(self) -> list[int]:
        """Return each parameter's number in the optimizer's own order."""
        numbers: list[int] = []
        first = 0
        for group in self.groups:
            numbers += range(first + len(group) - 1, first - 1, -1)
            first += len(group)
        return numbers


def elementwise(value: Any) -> bool:
    """Whether a value of an optimizer's state has an entry for each element of its parameter."""
    return isinstance(value, Tensor) and value.dim() > 0


def piece_state(
    optimizer: torch.optim.Optimizer, pieces: Sequence[torch.nn.Parameter]
) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Return what an optimizer of consecutive stretches of a buffer keeps: scalars, and vectors of all stretches one
    behind the other."""
    states = [optimizer.state.get(piece, {}) for piece in pieces]
    scalars = {key: float(value) for state in states for key, value in state.items() if not elementwise(value)}
    names = dict.fromkeys(key for state in states for key, value in state.items() if elementwise(value))
    return scalars, {key: torch.cat([state[key] for state in states]) for key in names}


def load_pieces(
    optimizer: torch.optim.Optimizer,
    pieces: Sequence[torch.nn.Parameter],
    start: int,
    groups: Sequence[dict[str, Any]],
    scalars: dict[str, Any],
    vectors: dict[str, Tensor],
) -> None:
    """Put back what `piece_state` gave, from vectors (L,) of which the stretches begin at `start`; `groups` hold the
    hyperparameters."""
    for group, given in zip(optimizer.param_groups, groups, strict=True):
        group.update({key: value for key, value in given.items() if key != "params"})
    optimizer.state.clear()
    for piece in pieces if scalars or vectors else ():
        own = {key: flat[start : start + piece.numel()].clone() for key, flat in vectors.items()}
        # An optimizer that is fused keeps its count of steps on the device, as the one that made it did.
        fused = bool(optimizer.param_groups[0].get("fused"))
        device, dtype = (piece.device, torch.float32) if fused else (None, None)
        counts = {key: torch.as_tensor(value, device=device, dtype=dtype).clone() for key, value in scalars.items()}
        optimizer.state[piece] = own | counts
        start += piece.numel()
