"""The knobs of Horovod's engine: which value each gets, and who said so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from hvdtrain.sync._config import EngineConfig


_BY_MPI = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMIX_RANK")
"""What the environment of a process that MPI started has."""


class Defaults(NamedTuple):
    """What `auto` stands for."""

    fusion_threshold_mb: float
    cycle_time_ms: float


# The engine's background thread takes a core from the training each time it wakes: a cycle of 1 ms, its own default, is
# too short on CPUs, and over Gloo, whose wake-ups cost more, 5 ms is. A buffer is waited for half a cycle on average:
# 20 ms is too long. Open MPI reduces through shared memory fastest up to 16 MiB, and of two buffers the first travels
# while backward goes on. Measured by benchmarks/gradient_buffers.py.
_GLOO = Defaults(fusion_threshold_mb=16.0, cycle_time_ms=10.0)
_MPI = Defaults(fusion_threshold_mb=16.0, cycle_time_ms=5.0)
_GPU = Defaults(fusion_threshold_mb=128.0, cycle_time_ms=1.0)


def defaults(*, on_gpu: bool, environment: Mapping[str, str]) -> Defaults:
    """Return what `auto` stands for on a device, for a process started in this environment."""
    if on_gpu:
        return _GPU
    return _MPI if any(name in environment for name in _BY_MPI) else _GLOO


@dataclass(frozen=True)
class Knob:
    """An environment variable of the engine: its value, and where that came from."""

    value: str
    source: str

    def __str__(self) -> str:
        return f"{self.value} ({self.source})"


def knobs(
    config: EngineConfig,
    *,
    origins: Mapping[str, str],
    environment: Mapping[str, str],
    on_gpu: bool,
    deterministic: bool,
) -> dict[str, Knob]:
    """Choose the engine's fusion threshold and cycle time, and on a CPU how Open MPI waits.

    Precedence: command-line override > environment (which `horovodrun` flags set) > recipe > `auto`. Deterministic runs
    turn the engine's fusion off whatever else is said: which tensors share a buffer depends on timing, and with three
    or more workers so does the order in which a buffer's sums are made (Horovod #1548). Buckets that the strategy fills
    are always the same. Open MPI waits by polling: on a CPU it
    is told to yield, or it polls on a core that the training needs. Where collectives of an update follow one another,
    each of them waits for a cycle, and `auto` makes it as much shorter.
    """
    auto = defaults(on_gpu=on_gpu, environment=environment)
    fusion_mb = auto.fusion_threshold_mb if config.fusion_threshold_mb == "auto" else config.fusion_threshold_mb
    cycle_ms = auto.cycle_time_ms / config.rounds if config.cycle_time_ms == "auto" else config.cycle_time_ms
    chosen = {}
    for variable, field, value in (
        ("HOROVOD_FUSION_THRESHOLD", "fusion_threshold_mb", str(int(fusion_mb * 2**20))),
        ("HOROVOD_CYCLE_TIME", "cycle_time_ms", f"{cycle_ms:g}"),
    ):
        source = "auto" if getattr(config, field) == "auto" else origins.get(f"sync.{field}", "default")
        if source != "override" and environment.get(variable):
            chosen[variable] = Knob(environment[variable], "environment")
        else:
            chosen[variable] = Knob(value, "command line" if source == "override" else source)
    if not on_gpu:
        yields = "OMPI_MCA_mpi_yield_when_idle"
        chosen[yields] = Knob(environment[yields], "environment") if environment.get(yields) else Knob("1", "auto")
    if deterministic and not config.fuses:
        chosen["HOROVOD_FUSION_THRESHOLD"] = Knob("0", "train.deterministic")
    return chosen
