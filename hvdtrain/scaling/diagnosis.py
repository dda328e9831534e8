"""Why it scales as it does: each cause that the losses show, what it costs, and the change that mends it."""

from __future__ import annotations

import math
from collections.abc import Callable

from hvdtrain.metrics.study import Diagnosis, Finding, Mode
from hvdtrain.report import format as fmt
from hvdtrain.scaling.losses import Losses

WORTH_IT = 0.05
"""Part of the step under which a loss is not worth a change: launches differ by about as much."""
SHARED = 0.10
"""The same for what the workers of a host take from each other: memory is shared on every machine."""
INHERENT = 0.15
"""The same for what synchronising costs at its best: a few percent of it are the price, not a fault."""
_POLLING_CYCLE = 0.005
_GLOO_CYCLE_MS, _CYCLE_MS = 5.0, 1.0
_FOREIGN = 0.15


def diagnose(mode: Mode, found: Losses, oversubscribed: str = "") -> Diagnosis:
    """Return the findings, the largest loss first; `oversubscribed` says in words how many threads share the cores."""
    findings = [finding for check in CHECKS if (finding := check(found, oversubscribed)) is not None]
    findings.sort(key=lambda finding: finding.seconds, reverse=True)
    return Diagnosis(mode=mode, workers=found.workers, verdict=_verdict(found, findings), findings=tuple(findings))


def _verdict(found: Losses, findings: list[Finding]) -> str:
    spent = f"{fmt.percent(found.base / found.step)} of the step is what one worker alone needs"
    if not findings:
        return (
            f"Nothing is worth changing: {spent}, and no loss that can be mended takes {fmt.percent(WORTH_IT)} of it."
        )
    first = findings[0]
    return f"{first.title}: {fmt.seconds(first.seconds)} of each step of {fmt.seconds(found.step)}."


def _finding(
    found: Losses, cause: str, title: str, seconds: float, evidence: list[str], change: str, saved: float, least: float
) -> Finding | None:
    """Make the finding if it costs enough; `saved` are the seconds of a step that the change should give back."""
    if seconds < least * found.step:
        return None
    saved = min(saved, 0.95 * found.step)
    faster = found.step / (found.step - saved) - 1
    gain = f"about {fmt.seconds(saved)} a step, {fmt.percent(faster)} more throughput"
    return Finding(
        cause=cause,
        title=title,
        seconds=seconds,
        share=seconds / found.step,
        evidence=tuple(evidence),
        change=change,
        gain=gain,
    )


def slow_data(found: Losses, oversubscribed: str) -> Finding | None:
    """Every worker waits for its batches before each step."""
    evidence = [f"each worker waits {fmt.seconds(found.data)} for its batches, before it computes anything"]
    change = "run the sweep with --synthetic to see it without; then store the data nearer, or cheaper to read"
    return _finding(found, "slow-data", "The data comes too slowly", found.data, evidence, change, found.data, WORTH_IT)


def slow_worker(found: Losses, oversubscribed: str) -> Finding | None:
    """One worker is slower than the others even where nobody waits for anybody; in each step all wait for it."""
    grown = {part: found.parts[part] - found.others[part] for part in found.parts}
    part = max(grown, key=lambda name: grown[name])
    evidence = [
        f"unsynchronised, worker {found.slowest} on {found.slowest_host} takes {fmt.seconds(found.slow_worker)} longer "
        f"a step than the fastest; {part} takes it {fmt.seconds(found.parts[part])}, "
        f"the median worker {fmt.seconds(found.others[part])}",
        f"it is given {found.slowest_cpu:.2f} cores for its {fmt.plural(found.threads, 'thread')}",
    ]
    change = (
        f"look at worker {found.slowest} on {found.slowest_host} (other programs, a bound core, heat); or leave that "
        "host out of -H"
    )
    title = f"Worker {found.slowest} is slow, and all others wait for it"
    saved = found.slow_worker
    return _finding(found, "slow-worker", title, found.slow_worker, evidence, change, saved, WORTH_IT)


def contention(found: Losses, oversubscribed: str) -> Finding | None:
    """Workers that do not even synchronise are slower beside each other than one alone."""
    lost, least = found.contention, WORTH_IT
    evidence = [
        f"a step takes {fmt.seconds(found.base)} alone, and {fmt.seconds(found.base + found.contention)} where "
        f"{found.workers} workers train side by side without synchronising"
    ]
    if oversubscribed:
        cause, title = "oversubscription", "More threads than cores"
        # The engine's own thread waits for a core like all the others.
        lost += found.polling + found.engine
        evidence.append(oversubscribed)
        fitting = max(1, found.cores // found.local_size)
        if found.threads > fitting:
            change = f"train.threads_per_worker={fitting}"
        else:
            change = f"-np {max(1, found.workers * found.cores // found.local_size)}: a core for each worker"
    elif found.foreign > _FOREIGN:
        cause, title = "contention", "Other programs take the cores"
        lost = max(lost, found.taken)
        evidence.append(f"programs that are not of this run took {fmt.percent(found.foreign)} of the host's cores")
        change = "end the other programs, or give the run hosts of its own"
    else:
        least = SHARED
        cause, title = "contention", "The workers of a host hold each other up"
        evidence.append(
            "cores are enough, and no other program runs: what is shared is memory bandwidth, cache or a quota"
        )
        half = max(1, found.workers // 2)
        change = f"-np {half} train.threads_per_worker={found.threads * found.workers // half}: fewer, wider workers"
    return _finding(found, cause, title, lost, evidence, change, lost, least)


def short_cycle(found: Losses, oversubscribed: str) -> Finding | None:
    """The engine wakes so often that its polling takes the cores from the training."""
    if found.on_gpu or found.cycle > _POLLING_CYCLE:
        return None
    # Beside a working engine polling is worse than beside an idle one, for each wake-up also negotiates.
    lost = found.polling + found.engine
    evidence = [
        f"the engine wakes every {found.cycle * 1000:g} ms, {found.step / max(found.cycle, 1e-5):,.0f} times a step",
        f"steps beside an engine that has nothing to do take {fmt.seconds(found.polling)} longer than without one; "
        f"beside one at work {fmt.seconds(lost)}",
    ]
    if found.polling < WORTH_IT * found.step:
        return None
    change = f"sync.cycle_time_ms={_good_cycle(found):g}"
    saved = lost - min(lost, found.on_the_wire)
    return _finding(found, "short-cycle", "The cycle time is too short", lost, evidence, change, saved, WORTH_IT)


def long_cycle(found: Losses, oversubscribed: str) -> Finding | None:
    """Gradients that are ready wait for the engine to wake."""
    better = _good_cycle(found) / 1000
    if better >= found.cycle:
        return None
    lost = min(found.exposed, found.cycle_wait)
    evidence = [
        f"a tiny all-reduce takes {fmt.seconds(found.latency)} at best; begun at any moment it waits "
        f"{fmt.seconds(found.cycle_wait)} more, for the engine wakes every {found.cycle * 1000:g} ms",
        f"{fmt.seconds(found.exposed)} of communication are not hidden behind backward",
    ]
    saved = max(0.0, lost - better / 2)
    title = "The cycle time is too long"
    return _finding(
        found, "long-cycle", title, lost, evidence, f"sync.cycle_time_ms={better * 1000:g}", saved, WORTH_IT
    )


def no_fusion(found: Losses, oversubscribed: str) -> Finding | None:
    """Many small all-reduces take longer than one of as many bytes."""
    if found.fusion_bytes >= found.volume / 4:
        return None
    lost = min(found.per_tensor, found.exposed + found.engine)
    evidence = [
        f"{found.tensors} gradients of {fmt.size(found.volume / max(1, found.tensors))} on average, and buffers of "
        f"{fmt.size(found.fusion_bytes)}",
        f"all-reduced one by one they take {fmt.seconds(found.per_tensor)} longer than as one buffer",
    ]
    change = f"sync.fusion_threshold_mb={max(1, math.ceil(found.volume / 2**20)):g}"
    return _finding(found, "no-fusion", "Gradients are not fused", lost, evidence, change, lost, WORTH_IT)


def link_or_work(found: Losses, oversubscribed: str) -> Finding | None:
    """What synchronising costs at its best is too much: the link is thin, or the workers have too little to do."""
    fixable = [check(found, oversubscribed) for check in (short_cycle, long_cycle, no_fusion)]
    lost = found.exposed + found.engine + found.polling - sum(one.seconds for one in fixable if one)
    if oversubscribed:
        lost -= found.polling + found.engine
    elif found.foreign > _FOREIGN:
        lost -= max(0.0, found.taken - found.contention)
    wire = min(lost, found.on_the_wire)
    if found.hosts > 1 and wire > lost / 2:
        speed = found.volume / max(found.on_the_wire, 1e-9) * 2 * (found.workers - 1) / found.workers
        evidence = [
            f"{fmt.size(found.volume)} of gradients a step and worker take {fmt.seconds(found.on_the_wire)} in a plain "
            f"all-reduce: {fmt.size(speed)}/s, {speed * 8 / 1e9:.2g} Gbit/s",
            f"one worker computes for {fmt.seconds(found.base)} between two of them",
        ]
        change = "sync.compression=fp16 (half the bytes); or a faster link; or a larger train.micro_batch_size"
        return _finding(found, "thin-link", "The link is too thin", lost, evidence, change, wire / 2, INHERENT)
    factor = _work_factor(found, lost)
    evidence = [
        f"a worker computes for {fmt.seconds(found.base)} a step, and synchronising costs {fmt.seconds(lost)} more",
        f"{fmt.size(found.volume)} of gradients for {fmt.plural(found.micro_batch_size, 'sample')}",
    ]
    change = f"train.micro_batch_size={found.micro_batch_size * factor}, or as much accumulation: {factor} x the work"
    saved = lost * (1 - 1 / factor)
    title = "Too little work for each worker"
    return _finding(found, "little-work", title, lost, evidence, change, saved, INHERENT)


CHECKS: tuple[Callable[[Losses, str], Finding | None], ...] = (
    slow_data, slow_worker, contention, short_cycle, long_cycle, no_fusion, link_or_work,
)  # fmt: skip


def _good_cycle(found: Losses) -> float:
    """Return the cycle time, in ms, whose wait is lost in the step and whose polling is not felt: 4 % of a step."""
    least = _GLOO_CYCLE_MS if found.controller == "gloo" and not found.on_gpu else _CYCLE_MS
    return min(20.0, max(least, round(0.04 * 1000 * (found.step - found.exposed))))


def _work_factor(found: Losses, lost: float) -> int:
    """Return the power of two by which the work must grow for synchronising to take a tenth of the step."""
    return int(2 ** min(6, max(1, math.ceil(math.log2(max(1.0, lost / (0.1 * max(found.base, 1e-6))))))))
