"""What the Configs of all strategies have in common: which runs a strategy fits, and the knobs of its engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import NonNegativeFloat, PositiveFloat

from hvdtrain.errors import RecipeError
from hvdtrain.registry import RegisteredConfig


class SyncConfig(RegisteredConfig):
    """Base of every strategy's Config."""

    scales_gradients: ClassVar[bool] = False
    """Whether it can go with fp16's gradient scaler, which must find an overflow on all workers alike."""

    coupled: ClassVar[bool] = True
    """Whether several workers' updates depend on each other at every step, so that all see the same gradients."""

    def problem(self, size: int, controller: str) -> str | None:
        """Return why it can't run with so many workers under a controller, "gloo", "mpi" or "" (not known yet); None
        where it can.
        """
        return None

    def training_workers(self, size: int) -> int:
        """Return how many of so many workers train, the first ones; the others only serve."""
        return size

    def notes(self, hosts: Sequence[str]) -> tuple[str, ...]:
        """Return what a reader of the run should know of its workers, whose hosts these are, by rank."""
        return ()


def training_workers(config: RegisteredConfig, size: int) -> int:
    """Return how many of so many workers train under a strategy, which may be another package's."""
    return config.training_workers(size) if isinstance(config, SyncConfig) else size


def check_workers(config: RegisteredConfig, size: int, controller: str) -> None:
    """Make sure that a strategy can be run by so many workers; one worker alone synchronises with nobody.

    Raises:
        RecipeError: it can't.
    """
    problem = config.problem(size, controller) if isinstance(config, SyncConfig) and size > 1 else None
    if problem:
        raise RecipeError(f"sync.name = {config.name}: {problem}")


def check_rollback(config: RegisteredConfig, size: int) -> None:
    """Make sure that all workers can go back together: those that don't see each other's gradients can't decide on it.

    Raises:
        RecipeError: they can't.
    """
    if isinstance(config, SyncConfig) and not config.coupled and size > 1:
        raise RecipeError(
            f"train.on_nonfinite = rollback: with sync.name = {config.name} each worker sees its own gradients "
            "only, and they can't go back together; set train.on_nonfinite to skip or stop"
        )


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
