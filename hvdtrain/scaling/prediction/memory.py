"""What a worker's memory holds, from the shapes of its model: the large parts, in bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

STATE_COPIES = {"adamw": 2, "sgd": 0}
"""Tensors like a parameter that an optimizer keeps: AdamW its two moments, SGD a buffer where it has momentum."""
_STEP_BYTES = 4
_SEGMENTS = 2 * 2**20


@dataclass(frozen=True)
class Shapes:
    """What a model's shapes tell without computing anything.

    `parameters` has (name, bytes) in the model's order, as many times as the tensor is stored; `trained` those that the
    optimizer updates. `activations` are the bytes that autograd keeps of one micro batch between forward and backward,
    parameters not counted. `flops` are those of one micro batch, forward and backward; `tokens` its targets, which
    are called `unit`.
    """

    parameters: tuple[tuple[str, int], ...]
    trained: tuple[tuple[str, int], ...]
    activations: int
    flops: float
    tokens: int
    samples: int
    precision: str
    notes: tuple[str, ...] = ()
    unit: str = "tokens"


@dataclass(frozen=True)
class Memory:
    """Bytes of a worker. `communication` are the engine's fusion buffer and what compression and the ring need beside
    it; `total` is their sum, without the runtime (Python, torch, CUDA: some hundred MB) and without the workspaces of
    single operations.
    """

    parameters: int
    gradients: int
    optimizer: int
    activations: int
    communication: int

    @property
    def total(self) -> int:
        """Sum of the parts."""
        return sum(asdict(self).values())


def memory(shapes: Shapes, optimizer: Mapping[str, Any], engine_bytes: float, workers: int, compression: str) -> Memory:
    """Return what a worker's memory holds.

    Args:
        shapes: of its model.
        optimizer: the recipe's section, `name` and, for SGD, `momentum`.
        engine_bytes: the fusion threshold; Horovod allocates one buffer of that size when it first fuses.
        workers: one worker communicates nothing.
        compression: "none", or "fp16", which keeps a copy of each gradient on its way.
    """
    trained = sum(size for _, size in shapes.trained)
    communication = 0
    if workers > 1:
        communication = int(engine_bytes) + _SEGMENTS + (trained // 2 if compression == "fp16" else 0)
    return Memory(
        parameters=sum(size for _, size in shapes.parameters),
        gradients=trained,
        optimizer=optimizer_bytes(shapes, optimizer),
        activations=shapes.activations,
        communication=communication,
    )


def optimizer_bytes(shapes: Shapes, optimizer: Mapping[str, Any]) -> int:
    """Return the bytes of an optimizer's state after its first step."""
    name = str(optimizer["name"])
    copies = 1 if name == "sgd" and optimizer.get("momentum") else STATE_COPIES[name]
    counters = _STEP_BYTES * len(shapes.trained) if name == "adamw" else 0
    return copies * sum(size for _, size in shapes.trained) + counters
