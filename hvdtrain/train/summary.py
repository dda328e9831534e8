"""The last record of a run: what was reached, how fast, and where the time went."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from statistics import median
from typing import TYPE_CHECKING

from hvdtrain.metrics.records import PHASES, EndRecord, StepRecord
from hvdtrain.metrics.timing import bus_bandwidth
from hvdtrain.train.peak import peak_flops

if TYPE_CHECKING:
    from hvdtrain.train.assemble import Assembly
    from hvdtrain.train.window import Counts


class Logged:
    """What the last record says of the logged steps. Of each its two rates are kept, 16 bytes, for their medians.

    Attributes:
        loss: the newest, None where nothing was logged.
        memory_bytes: the most.
    """

    def __init__(self) -> None:
        self.loss: float | None = None
        self.memory_bytes = 0
        self._count = 0
        self._tokens, self._samples = array("d"), array("d")
        self._seconds = dict.fromkeys(("step", *PHASES), 0.0)

    def add(self, record: StepRecord) -> None:
        """Take in a step; the first is warm-up, and left out of what is said of time where there are others."""
        if self._count == 1:
            self._tokens, self._samples = array("d"), array("d")
            self._seconds = dict.fromkeys(self._seconds, 0.0)
        self._count += 1
        self.loss, self.memory_bytes = record.loss, max(self.memory_bytes, record.memory_bytes)
        self._tokens.append(record.tokens_per_second)
        self._samples.append(record.samples_per_second)
        self._seconds = {name: total + record.seconds[name] for name, total in self._seconds.items()}

    def rates(self) -> tuple[float, float]:
        """Return the medians of tokens and of samples a second."""
        return (median(self._tokens), median(self._samples)) if self._tokens else (0.0, 0.0)

    def split(self) -> dict[str, float]:
        """Return the mean seconds of a step and its parts: medians of the parts would not sum to the step's."""
        return {name: total / len(self._tokens) for name, total in self._seconds.items()} if self._tokens else {}


def summarize(
    assembly: Assembly,
    logged: Logged,
    *,
    reason: str,
    metrics: Mapping[str, float],
    checkpoint: str | None,
    best: str | None,
    elapsed: float,
    counts: Counts,
) -> EndRecord:
    """Make the record.

    The plain all-reduce and the device's peak are measured here, after the training, on all workers at the same time; a
    run that was asked to stop has no time for it.
    """
    loop, world = assembly.loop, assembly.loop.world
    rate, samples_rate = logged.rates()
    volume = round(sum(run.strategy.bytes_per_step for run in loop.phases))
    peak, source, seconds = _measure(assembly) if reason in ("finished", "converged") else (None, "", None)
    return EndRecord(
        step=loop.step,
        reason=reason,
        train_loss=logged.loss,
        metrics=metrics,
        tokens=counts.targets,
        samples=counts.samples,
        elapsed=elapsed,
        tokens_per_second=rate,
        samples_per_second=samples_rate,
        seconds=logged.split(),
        world_size=world.size,
        servers=loop.servers,
        server_bytes=_server_bytes(assembly),
        allreduce_bytes=volume,
        allreduce_seconds=seconds,
        bus_bandwidth=bus_bandwidth(volume, seconds, world.size) if seconds else None,
        mfu=rate * assembly.flops_per_token / peak if rate and peak else None,
        peak_flops=peak,
        peak_source=source,
        memory_bytes=logged.memory_bytes,
        checkpoint=checkpoint,
        best=best,
    )


def _measure(assembly: Assembly) -> tuple[float, str, float | None]:
    """Return the devices' peak FLOP/s together, how it was found, and the seconds of a plain all-reduce."""
    loop, world = assembly.loop, assembly.loop.world
    peak, source = peak_flops(loop.device, loop.precision.name)
    if world.size > 1:
        source += f", {world.size} workers at once"
    probes = [seconds for run in loop.phases if (seconds := run.strategy.probe()) is not None]
    return sum(world.gather(peak)[: loop.training_workers]), source, sum(probes) if probes else None


def _server_bytes(assembly: Assembly) -> tuple[int, int] | None:
    """Return what the link of the busiest server carries in and out in an update, of all phases together."""
    found = [both for run in assembly.loop.phases if (both := run.strategy.server_bytes_per_step) is not None]
    return (round(sum(way[0] for way in found)), round(sum(way[1] for way in found))) if found else None
