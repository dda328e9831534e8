"""Plain all-reduces through the engine, with nothing else running, and what summing costs this worker."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from statistics import median
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from hvdtrain.sync._engine import Knob
    from hvdtrain.world import World

_SIZES = (1 << 12, 1 << 16, 1 << 18, 1 << 20, 1 << 22, 1 << 24, 1 << 26)
_REPEATS = 3
_LATENCY_SECONDS = 3.0


def cycle_seconds(knobs: Mapping[str, Knob]) -> float:
    """Return the engine's cycle time."""
    return float(knobs["HOROVOD_CYCLE_TIME"].value) / 1000


def sweep(world: World, device: torch.device, volume: int) -> list[tuple[float, float, float]]:
    """Return (bytes, median seconds, median processor seconds of this process) for one buffer of each of some sizes,
    up to the one that holds all gradients, `volume` bytes.
    """
    rows = []
    for size in [*(s for s in _SIZES if s < volume), min(volume, _SIZES[-1])]:
        took = [_timed(world, device, size)[0] for _ in range(_REPEATS + 1)][1:]
        busy = [_timed(world, device, size, asleep=True)[1] for _ in range(_REPEATS)]
        rows.append((float(size), median(took), median(busy)))
    return rows


def one_buffer(world: World, device: torch.device, volume: int) -> float:
    """Return the median seconds of an all-reduce of one buffer as large as all gradients: what the link does."""
    return median([_timed(world, device, volume)[0] for _ in range(_REPEATS + 1)][1:])


def latencies(world: World, cycle: float) -> list[float]:
    """Return the seconds of all-reduces of one number, begun at random moments of the engine's cycle.

    The smallest is the engine at its luckiest; what the mean is above it is the wait for the next cycle. All workers
    draw the same moments.
    """
    moments = random.Random(0)
    buffer, took = torch.zeros(1), []
    for _ in range(max(6, min(24, round(_LATENCY_SECONDS / max(2 * cycle, 1e-3))))):
        world.gather(None)
        time.sleep(moments.random() * cycle)
        start = time.perf_counter()
        world.start_sum(buffer, "latency").wait()
        took.append(time.perf_counter() - start)
    return took


def reduce_seconds_per_byte(device: torch.device) -> float:
    """Return the seconds that adding one buffer to another takes for each byte of one of them."""
    mine, other = torch.zeros(1 << 22, device=device), torch.zeros(1 << 22, device=device)
    took = []
    for _ in range(5):
        start = time.perf_counter()
        mine.add_(other)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        took.append(time.perf_counter() - start)
    return min(took) / (mine.numel() * mine.element_size())


def _timed(world: World, device: torch.device, size: int, *, asleep: bool = False) -> tuple[float, float]:
    """Return wall and processor seconds; `asleep` leaves out the processor time of waiting, which polls."""
    buffer = torch.zeros(max(1, size // 4), device=device)
    world.gather(None)
    start, busy = time.perf_counter(), time.process_time()
    pending = world.start_sum(buffer, f"sweep.{size}")
    while asleep and not pending.done():
        time.sleep(5e-4)
    pending.wait()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start, time.process_time() - busy
