"""The last record of a run: what was reached, how fast, and where the time went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING

from hvdtrain.metrics.records import PHASES, EndRecord, StepRecord
from hvdtrain.metrics.timing import bus_bandwidth
from hvdtrain.train.peak import peak_flops

if TYPE_CHECKING:
    from hvdtrain.train.assemble import Assembly
    from hvdtrain.train.window import Counts


def summarize(
    assembly: Assembly,
    steps: Sequence[StepRecord],
    *,
    reason: str,
    metrics: Mapping[str, float],
    checkpoint: str | None,
    best: str | None,
    elapsed: float,
    counts: Counts,
) -> EndRecord:
    """Make the record from the logged steps; the first is warm-up and left out of the rates where there are others.

    The plain all-reduce and the device's peak are measured here, after the training, on all workers at the same time; a
    run that was asked to stop has no time for it.
    """
    loop, world = assembly.loop, assembly.loop.world
    timed = steps[1:] or steps
    rate = median(step.tokens_per_second for step in timed) if timed else 0.0
    volume = round(sum(run.strategy.bytes_per_step for run in loop.phases))
    peak, source, seconds = _measure(assembly) if reason in ("finished", "converged") else (None, "", None)
    return EndRecord(
        step=loop.step,
        reason=reason,
        train_loss=steps[-1].loss if steps else None,
        metrics=metrics,
        tokens=counts.targets,
        samples=counts.samples,
        elapsed=elapsed,
        tokens_per_second=rate,
        samples_per_second=median(step.samples_per_second for step in timed) if timed else 0.0,
        seconds=_mean_split(timed),
        world_size=world.size,
        servers=loop.servers,
        server_bytes=_server_bytes(assembly),
        allreduce_bytes=volume,
        allreduce_seconds=seconds,
        bus_bandwidth=bus_bandwidth(volume, seconds, world.size) if seconds else None,
        mfu=rate * assembly.flops_per_token / peak if rate and peak else None,
        peak_flops=peak,
        peak_source=source,
        memory_bytes=max((step.memory_bytes for step in steps), default=0),
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


def _mean_split(steps: Sequence[StepRecord]) -> dict[str, float]:
    """A mean keeps what medians of the parts would lose: that they sum to the step."""
    if not steps:
        return {}
    return {name: sum(step.seconds[name] for step in steps) / len(steps) for name in ("step", *PHASES)}
