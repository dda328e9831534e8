"""Plain all-reduces through the engine, with nothing else running, and what summing costs this worker."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

import psutil
import torch

if TYPE_CHECKING:
    from hvdtrain.sync._engine import Knob
    from hvdtrain.world import World

_SIZES = (1 << 12, 1 << 16, 1 << 18, 1 << 20, 1 << 22, 1 << 24, 1 << 26)
_REPEATS = 3
_LATENCY_SECONDS = 3.0
_ROUNDS = 3


def cycle_seconds(knobs: Mapping[str, Knob]) -> float:
    """Return the engine's cycle time."""
    return float(knobs["HOROVOD_CYCLE_TIME"].value) / 1000


def sweep(world: World, device: torch.device, volume: int) -> list[tuple[float, float]]:
    """Return (bytes, median seconds) for one buffer of each of some sizes, up to the one that holds all gradients,
    `volume` bytes.
    """
    rows = []
    for size in [*(s for s in _SIZES if s < volume), min(volume, _SIZES[-1])]:
        took = [_timed(world, device, size) for _ in range(_REPEATS + 1)][1:]
        rows.append((float(size), median(took)))
    return rows


def one_buffer(world: World, device: torch.device, volume: int) -> float:
    """Return the median seconds of an all-reduce of one buffer as large as all gradients: what the link does."""
    return median([_timed(world, device, volume) for _ in range(_REPEATS + 1)][1:])


def latencies(world: World, device: torch.device, cycle: float) -> list[float]:
    """Return the seconds of all-reduces of one number, begun at random moments of the engine's cycle.

    The smallest is the engine at its luckiest; what the mean is above it is the wait for the next cycle. All workers
    draw the same moments.
    """
    moments = random.Random(0)
    buffer, took = torch.zeros(1, device=device), []
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


@dataclass(frozen=True)
class Company:
    """What all-reducing and computing do to each other on this worker.

    `processor` are the seconds that one all-reduce takes of the machine's processors, for each worker on the machine;
    `computing` and `reducing` the speeds that both keep while both go on, 1 being each one's alone.
    """

    processor: float
    computing: float
    reducing: float


def company(world: World, device: torch.device, size: int, sharing: int, cycle: float) -> Company:
    """All-reduce buffers of a size, first with this thread asleep, for waiting in the engine would poll, and then with
    it multiplying matrices.

    Each round has enough buffers to take a fifth of a second beside its wait for the engine's next cycle.

    Args:
        sharing: workers on this machine, which all do the same.
        cycle: seconds between the engine's cycles.
    """
    alone = max(1e-3, max(world.gather(_timed(world, device, size))) - cycle)
    buffers = [torch.zeros(max(1, size // 4), device=device) for _ in range(max(1, min(16, round(0.2 / alone))))]
    product = _Product(device)
    before = busy_seconds()
    quiet, _ = _rounds(world, buffers, lambda: time.sleep(5e-4))
    processor = (busy_seconds() - before) / (_ROUNDS * len(buffers) * sharing)
    world.gather(None)
    each = product.seconds()
    loud, products = _rounds(world, buffers, product)
    # Until its next cycle the engine does nothing, and computing goes on undisturbed.
    waited = _ROUNDS * cycle
    both = max(loud - waited, 1e-6)
    computing = (products * each - waited) / both
    return Company(processor, _speed(computing), _speed((quiet - waited) / both))


class _Product:
    """Matrix products, one a call: what backward mostly does."""

    def __init__(self, device: torch.device) -> None:
        self._left = torch.ones(256, 256, device=device)
        self._right = torch.ones(256, 256, device=device)

    def __call__(self) -> None:
        (self._left @ self._right)[0, 0].item()

    def seconds(self) -> float:
        """Return what one takes, the mean over a fifth of a second."""
        count, start = 0, time.perf_counter()
        while time.perf_counter() - start < 0.2:
            self()
            count += 1
        return (time.perf_counter() - start) / count


def _rounds(world: World, buffers: list[torch.Tensor], meanwhile: Callable[[], None]) -> tuple[float, int]:
    """All-reduce the buffers some times over; return the seconds, and how often something was done meanwhile."""
    count = 0
    world.gather(None)
    start = time.perf_counter()
    for _ in range(_ROUNDS):
        for pending in [world.start_sum(buffer, f"company.{i}") for i, buffer in enumerate(buffers)]:
            while not pending.done():
                meanwhile()
                count += 1
            pending.wait()
    return time.perf_counter() - start, count


def _speed(value: float) -> float:
    return max(0.05, min(1.0, value))


def busy_seconds() -> float:
    """Return the seconds for which the machine's processors were busy, added up, since it started."""
    machine = psutil.cpu_times()
    idle: float = machine.idle + getattr(machine, "iowait", 0.0) + getattr(machine, "guest", 0.0)
    return float(sum(machine)) - idle


def _timed(world: World, device: torch.device, size: int) -> float:
    buffer = torch.zeros(max(1, size // 4), device=device)
    world.gather(None)
    start = time.perf_counter()
    world.start_sum(buffer, f"sweep.{size}").wait()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start
