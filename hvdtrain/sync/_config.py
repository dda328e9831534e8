"""What the Configs of all strategies have in common: which runs a strategy fits, and the knobs of its engine."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import NonNegativeFloat, PositiveFloat

from hvdtrain.registry import RegisteredConfig


class SyncConfig(RegisteredConfig):
    """Base of every strategy's Config."""

    scales_gradients: ClassVar[bool] = False
    """Whether it can go with fp16's gradient scaler, which must find an overflow on all workers alike."""

    def problem(self, size: int, controller: str) -> str | None:
        """Return why it can't run with so many workers under a controller, "gloo" or "mpi"; None where it can."""
        return None


class EngineConfig(SyncConfig):
    """Base of those that synchronise through Horovod's engine: its two knobs, of which `auto` leaves the choice to what
    suits the strategy and the device.
    """

    rounds: ClassVar[int] = 1
    """Collectives of an update that must follow one another: each waits for the engine's next cycle."""

    fuses: ClassVar[bool] = False
    """Whether it hands the engine buckets of the fusion threshold's size, so that the engine has nothing to fuse."""

    fusion_threshold_mb: Literal["auto"] | NonNegativeFloat = "auto"
    cycle_time_ms: Literal["auto"] | PositiveFloat = "auto"
