"""What differs between two checkpoints, to the last bit."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from hvdtrain.train import checkpoint


@dataclass(frozen=True)
class TensorDifference:
    """A tensor that is not alike in two checkpoints.

    Attributes:
        what: how it differs, where it is not by values: it is in one only, or of another shape or type.
        elements: how many elements differ in their bits, of how many.
        largest: the largest absolute difference; NaN where one is not a number.
    """

    name: str
    what: str = ""
    elements: tuple[int, int] = (0, 0)
    largest: float = math.nan


@dataclass(frozen=True)
class Differences:
    """What differs, and how many tensors were compared."""

    model: tuple[TensorDifference, ...]
    optimizer: tuple[TensorDifference, ...]
    state: tuple[tuple[str, Any, Any], ...]
    """Keys of the state with both values, None where there is none."""
    compared: int

    def __bool__(self) -> bool:
        return bool(self.model or self.optimizer or self.state)


def diff(first: Path, second: Path) -> Differences:
    """Compare two checkpoints after verifying both. Two that are equal train on alike.

    Raises:
        CheckpointError: one is missing, damaged or of another format.
    """
    one, other = checkpoint.read(first), checkpoint.read(second)
    return Differences(
        tuple(_tensors(one.model, other.model)),
        tuple(_tensors(one.optimizer, other.optimizer)),
        tuple(_values("", one.state, other.state)),
        len(one.model.keys() | other.model.keys()) + len(one.optimizer.keys() | other.optimizer.keys()),
    )


def _tensors(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> Iterator[TensorDifference]:
    for name in sorted(one.keys() | other.keys()):
        if name not in one or name not in other:
            yield TensorDifference(name, f"only in the {'first' if name in one else 'second'}")
            continue
        a, b = one[name], other[name]
        if a.shape != b.shape or a.dtype != b.dtype:
            yield TensorDifference(name, f"{_form(a)} and {_form(b)}")
            continue
        unlike = _unlike(a, b)
        if unlike:
            largest = float((a.double() - b.double()).abs().max())
            yield TensorDifference(name, elements=(unlike, a.numel()), largest=largest)


def _unlike(a: torch.Tensor, b: torch.Tensor) -> int:
    """Return how many elements differ in their bits: NaN equals the same NaN, and 0 is not -0."""
    width = a.element_size()
    rows = [tensor.contiguous().flatten().view(torch.uint8).view(-1, width) for tensor in (a, b)]
    return int((rows[0] != rows[1]).any(dim=1).sum())


def _form(tensor: torch.Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


def _values(path: str, one: Any, other: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted(one.keys() | other.keys()):
            yield from _values(f"{path}.{key}" if path else key, one.get(key), other.get(key))
    elif one != other:
        yield path, one, other
