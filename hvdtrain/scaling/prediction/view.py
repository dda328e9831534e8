"""What a person, or a program, reads of an estimate."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from hvdtrain.metrics.records import PHASES
from hvdtrain.report import format as fmt
from hvdtrain.scaling.prediction.model import LARGEST, Prediction

if TYPE_CHECKING:
    from rich.console import RenderableType

    from hvdtrain.scaling.prediction.memory import Memory
    from hvdtrain.scaling.prediction.request import Estimate


def to_json(found: Estimate) -> str:
    """Return the estimate as JSON, all times in seconds and all sizes in bytes."""
    values = asdict(found) | {"memory": asdict(found.memory) | {"total": found.memory.total}}
    return json.dumps(values, indent=1)


def view(found: Estimate) -> RenderableType:
    """Return the estimate for the console."""
    from rich.console import Group
    from rich.text import Text

    head = Text(
        f"{found.recipe}: predicted, {found.mode} scaling; one worker takes {fmt.seconds(found.alone)} a step, "
        f"{fmt.size(found.bytes_per_step)} of gradients in {fmt.plural(found.tensors, 'tensor')}"
    )
    table = _table(found.predictions, found.unit)
    parts: list[RenderableType] = [head, table, Text("the step"), _split(found.predictions)]
    parts += [Text(line) for line in (_memory(found.memory), _limit(found), found.diagnosis)]
    parts += [Text("what this rests on:"), *(Text(f"  {line}") for line in found.inputs)]
    return Group(*parts)


def _table(predictions: tuple[Prediction, ...], unit: str) -> RenderableType:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in ("workers", "hosts", "step", "efficiency", "speedup", f"{unit}/s", "communication", "exposed"):
        table.add_column(name, justify="right")
    for one in predictions:
        table.add_row(
            f"{one.workers:,}",
            f"{one.hosts:,}",
            fmt.seconds(one.step),
            fmt.percent(one.efficiency, 1),
            f"{one.speedup:.1f}" if one.speedup < 100 else f"{one.speedup:,.0f}",
            fmt.rate(one.tokens_per_second),
            fmt.seconds(one.communication),
            fmt.seconds(one.exposed),
        )
    return table


def _split(predictions: tuple[Prediction, ...]) -> RenderableType:
    from rich.table import Table

    shown = [name for name in PHASES if any(one.split[name] > 0 for one in predictions)]
    table = Table(box=None, pad_edge=False)
    for name in ("workers", *shown):
        table.add_column(name, justify="right")
    for one in predictions:
        table.add_row(f"{one.workers:,}", *(fmt.seconds(one.split[name]) for name in shown))
    return table


def _memory(memory: Memory) -> str:
    parts = ", ".join(f"{name} {fmt.size(value)}" for name, value in asdict(memory).items() if value)
    return f"memory of a worker: {fmt.size(memory.total)} ({parts}), and the runtime"


def _limit(found: Estimate) -> str:
    floor = fmt.percent(found.floor)
    if found.limit is None:
        return f"efficiency stays at {floor} or more up to {LARGEST:,} workers, where the search ended"
    if found.limit <= 1:
        return f"efficiency is under {floor} with every number of workers above one"
    return f"efficiency stays at {floor} or more up to {fmt.plural(found.limit, 'worker')}"
