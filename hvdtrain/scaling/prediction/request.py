"""What is asked of a prediction, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hvdtrain.scaling.prediction.memory import Memory
from hvdtrain.scaling.prediction.model import Prediction


@dataclass(frozen=True)
class Request:
    """What is asked. Times are in seconds, rates in bytes a second, `device_flops` in FLOP/s.

    Of `step_time` and `device_flops` one at most is given; with neither the compute times are measured here. `steady`
    takes the workers not to vary, however the measured steps do.
    """

    source: str
    overrides: tuple[str, ...]
    workers: tuple[int, ...]
    mode: Literal["weak", "strong"] = "weak"
    link: float | None = None
    latency: float | None = None
    per_host: int = 1
    inner_link: float | None = None
    inner_latency: float | None = None
    hierarchical: bool = False
    floor: float = 0.9
    measured: bool = False
    step_time: float | None = None
    device_flops: float | None = None
    mfu: float = 0.4
    compression: str | None = None
    steady: bool = False
    steps: int = 20


@dataclass(frozen=True)
class Estimate:
    """Predictions with everything that they rest on.

    `limit` is the largest number of workers that keeps the efficiency at `floor`; None: `estimate.LARGEST` still does.
    `inputs` state each input and where it comes from.
    """

    recipe: str
    mode: str
    alone: float
    predictions: tuple[Prediction, ...]
    memory: Memory
    floor: float
    limit: int | None
    diagnosis: str
    inputs: tuple[str, ...]
    bytes_per_step: int
    tensors: int
    unit: str = "tokens"
