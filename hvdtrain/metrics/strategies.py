"""What training with several synchronisation strategies showed: each worker's record, and the figures of all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from pydantic import Field

from hvdtrain.metrics.records import TYPES, Record
from hvdtrain.metrics.study import Interval, Part

FLOOR = "none"
"""The strategy that every other is held against: workers that do not synchronise."""


@dataclass(frozen=True, kw_only=True)
class StrategyRecord(Record):
    """What one worker measured while it trained with one strategy.

    The first of the `step` updates are warm-up; the `timed` others took `wall` seconds, in which all workers trained on
    `samples` and `tokens` (targets). `train_loss` is the mean over the last updates, `metrics` are those of the
    validation after them, by which `objective` is "min" or "max"; workers that do not synchronise have their own.
    `bytes_per_step` is what this worker hands to the engine for one update, `server_bytes_per_step` what goes through
    the server, where there is one. `sent_bytes` is what the system counted for one update on all interfaces of this
    worker's host, by the number of workers there. `state_bytes` is the optimizer's state that this worker keeps,
    `memory_bytes` the peak of its resident memory during the updates (of device memory on a GPU).
    """

    event: ClassVar[str] = "strategy"
    rank: int
    world_size: int
    host: str
    coupled: bool = True
    timed: int
    wall: float
    samples: int
    tokens: int
    train_loss: float
    metrics: Mapping[str, float]
    objective: tuple[str, str] = ("loss", "min")
    loss_unit: str = ""
    unit: str = "tokens"
    bytes_per_step: float = 0.0
    server_bytes_per_step: float | None = None
    sent_bytes: float = 0.0
    state_bytes: int = 0
    memory_bytes: int = 0
    device: str = ""
    precision: str = ""
    controller: str = ""
    engine: Mapping[str, str] = field(default_factory=dict)
    threads: int = 1
    parameters: int = 0
    global_batch_size: int = 0
    micro_batch_size: int = 0
    gradient_accumulation_steps: int = 1
    notes: tuple[str, ...] = ()


TYPES[StrategyRecord.event] = StrategyRecord


class StrategyResult(Part):
    """One strategy over all rounds.

    `step` are the seconds of an update, a run's being the mean over its timed updates; `sync_tax` is the median over
    rounds of T(synchronised) / T(not synchronised) - 1, None for the floor. `validation` is the metric that the
    comparison names (the training loss, where nothing is validated). `sent_bytes` is the largest of any worker's.
    `state_bytes` and `memory_bytes` have an entry for each worker. `coupled` is false where the workers' updates do not
    depend on each other at every step.
    """

    strategy: str
    step: Interval
    sync_tax: Interval | None = None
    samples_per_second: float
    tokens_per_second: float
    bytes_per_step: float
    server_bytes_per_step: float | None = None
    sent_bytes: float = 0.0
    train_loss: Interval
    validation: Interval
    metrics: dict[str, float] = Field(default_factory=dict)
    memory_bytes: tuple[int, ...] = ()
    state_bytes: tuple[int, ...] = ()
    coupled: bool = True
    global_batch_size: int = 0
    engine: dict[str, str] = Field(default_factory=dict)

    @property
    def floor(self) -> bool:
        """Whether its workers do not synchronise."""
        return self.strategy == FLOOR


class Refused(Part):
    """A strategy that could not be measured, or not in all rounds, and why; `failed` where it began and broke off."""

    strategy: str
    message: str
    failed: bool = False


class Comparison(Part):
    """Strategies of one recipe side by side, the fastest first and the floor last.

    `rounds` and `steps` are those asked for, `updates` what each run did: fewer than `steps` where the recipe is
    shorter. `metric` is what validation is judged by and `mode` whether its "min" or "max" is best. `verdict` are
    sentences.
    """

    name: str
    recipe: str
    created: str
    command: str
    workers: int
    hosts: int = 1
    rounds: int
    steps: int
    warmup: int
    updates: int = 0
    metric: str = "loss"
    mode: str = "min"
    loss_unit: str = ""
    unit: str = "tokens"
    parameters: int = 0
    device: str = ""
    precision: str = ""
    controller: str = ""
    threads_per_worker: int = 1
    batch: str = ""
    results: tuple[StrategyResult, ...] = ()
    refused: tuple[Refused, ...] = ()
    verdict: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    environment: dict[str, Any] = Field(default_factory=dict)
