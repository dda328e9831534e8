"""What bounds a predicted step, in one sentence: the cause without which it would be shortest, and what helps."""

from __future__ import annotations

import math
from dataclasses import replace

from hvdtrain.report import format as fmt
from hvdtrain.scaling.prediction.allreduce_cost import allreduce_seconds
from hvdtrain.scaling.prediction.links import Cluster, Link
from hvdtrain.scaling.prediction.model import Prediction, Workload, predict

NEGLIGIBLE = 0.05
"""Part of the step under which a cause is no bound."""
_SHORT_CYCLE = 1e-4


def diagnosis(work: Workload, cluster: Cluster, found: Prediction) -> str:
    """Return the sentence for one number of workers."""
    if found.workers == 1:
        return "One worker synchronises with nobody."
    saved = {cause: found.step - seconds for cause, seconds in steps_without(work, cluster).items()}
    cause = max(saved, key=lambda name: saved[name])
    where = f"With {found.workers:,} workers"
    if saved[cause] < NEGLIGIBLE * found.step:
        return (
            f"{where} computation is the bound: communication takes {fmt.seconds(found.communication)} of each step, "
            f"and {fmt.percent(found.exposed / found.step)} of the step waits for it."
        )
    lost = f"without it each step of {fmt.seconds(found.step)} would be {fmt.seconds(saved[cause])} shorter"
    return f"{where} {_SENTENCES[cause].format(lost=lost, **_facts(work, cluster, found))}"


def steps_without(work: Workload, cluster: Cluster) -> dict[str, float]:
    """Return the predicted step with each cause of loss taken away by itself."""
    software, engine = work.software, work.engine
    outer, inner = cluster.outer, cluster.inner
    instant = replace(cluster, outer=Link(outer.rate, 0.0, outer.payload), inner=Link(inner.rate, 0.0, inner.payload))
    wide = replace(cluster, outer=Link(math.inf, outer.latency), inner=Link(math.inf, inner.latency))
    short = min(engine.cycle, _SHORT_CYCLE)
    # Its polling stays what it is a second, or a shorter cycle would cost more of it.
    prompt = replace(engine, cycle=short, polling=engine.polling * short / engine.cycle if engine.cycle else 0.0)
    cases = {
        "latency": (replace(work, software=replace(software, latency=0.0)), instant),
        "bandwidth": (replace(work, software=replace(software, seconds_per_byte=0.0, reduce=0.0)), wide),
        "cycle": (replace(work, engine=prompt), cluster),
        "engine": (replace(work, engine=replace(engine, polling=0.0), threads=None), cluster),
        "imbalance": (replace(work, profile=replace(work.profile, spread=())), cluster),
    }
    return {cause: predict(*case).step for cause, case in cases.items()}


_SENTENCES = {
    "latency": "latency is the bound: {lost}; its messages are those of {buffers}, and {fewer} helps.",
    "bandwidth": "bandwidth is the bound: {lost}; {bytes} of gradients move at {rate}/s, and larger micro batches, "
    "accumulation, sync.compression=fp16 or a faster link help.",
    "cycle": "the engine's cycle of {cycle} is the bound: {lost}; a shorter one helps (sync.cycle_time_ms).",
    "engine": "the cores that the engine takes from the training are the bound: {lost}; a longer cycle "
    "(sync.cycle_time_ms) or a core left free helps.",
    "imbalance": "the wait for the slowest worker is the bound: {lost}; it is there because measured steps vary.",
}


def _facts(work: Workload, cluster: Cluster, found: Prediction) -> dict[str, str]:
    seconds = allreduce_seconds(work.wire_bytes, cluster, work.software)
    if cluster.per_host > 1 and cluster.hosts > 1 and not cluster.hierarchical:
        fewer = "reducing inside hosts first (--hierarchical, on GPUs)"
    else:
        fewer = "fewer, larger buffers (sync.fusion_threshold_mb)" if found.buffers > 2 else "a link of less latency"
    return {
        "buffers": fmt.plural(round(found.buffers), "buffer"),
        "fewer": fewer,
        "bytes": fmt.size(work.wire_bytes),
        "rate": fmt.size(work.wire_bytes / seconds) if seconds else "any number of bytes",
        "cycle": f"{work.engine.cycle * 1000:g} ms",
    }
