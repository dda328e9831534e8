"""What bounds a predicted step, in one sentence: the largest of what it loses against one worker, and what helps."""

from __future__ import annotations

from hvdtrain.report import format as fmt
from hvdtrain.scaling.allreduce_cost import allreduce_seconds
from hvdtrain.scaling.estimate import Prediction, Workload
from hvdtrain.scaling.links import Cluster

NEGLIGIBLE = 0.05


def diagnosis(work: Workload, cluster: Cluster, found: Prediction) -> str:
    """Return the sentence for one number of workers."""
    if found.workers == 1:
        return "One worker synchronises with nobody."
    losses = {
        "exposed": found.exposed,
        "imbalance": found.split["imbalance"],
        "engine": found.polling + found.stolen,
    }
    name = max(losses, key=lambda key: losses[key])
    if losses[name] < NEGLIGIBLE * found.step:
        return (
            f"With {found.workers:,} workers computation is the bound: communication takes "
            f"{fmt.seconds(found.communication)} of each step, and {fmt.percent(found.exposed / found.step)} of the "
            "step waits for it."
        )
    where = f"With {found.workers:,} workers"
    lost = f"{fmt.seconds(losses[name])} of each step of {fmt.seconds(found.step)}"
    if name == "imbalance":
        return f"{where} the wait for the slowest worker is the bound: {lost}, from how much the measured steps vary."
    if name == "engine":
        return (
            f"{where} the engine takes the cores from the training: {lost}; a longer cycle (sync.cycle_time_ms) or a "
            "core left free helps."
        )
    return f"{where} {_exposed(work, cluster, found, lost)}"


def _exposed(work: Workload, cluster: Cluster, found: Prediction, lost: str) -> str:
    """Say whether bytes, messages or the engine's cycle make the communication that is exposed."""
    moved = max(0.0, found.communication - found.latency)
    waits = max(0.0, found.exposed - found.communication)
    if waits > max(moved, found.latency):
        return (
            f"the engine's cycle is the bound: {lost} wait for it; a shorter one helps (sync.cycle_time_ms, now "
            f"{work.engine.cycle * 1000:g})."
        )
    if found.latency > moved:
        fusion = "fewer and larger buffers (sync.fusion_threshold_mb)" if found.buffers > 2 else "fewer workers"
        inside = ", --hierarchical" if cluster.per_host > 1 and not cluster.hierarchical else ""
        return (
            f"latency is the bound: {lost} wait for the messages of {found.buffers:.0f} buffers; {fusion}{inside} "
            "helps."
        )
    rate = work.wire_bytes / allreduce_seconds(work.wire_bytes, cluster, work.software)
    return (
        f"bandwidth is the bound: {lost} wait for {fmt.size(work.wire_bytes)} of gradients at {fmt.size(rate)}/s; "
        "larger micro batches, accumulation, sync.compression=fp16 or a faster link help."
    )
