"""Why it scales as it does: each cause that the losses show, what it costs, and the change that mends it."""

from __future__ import annotations

import math
from collections.abc import Callable

from hvdtrain.metrics.study import Diagnosis, Finding, Mode
from hvdtrain.report import format as fmt
from hvdtrain.scaling.sweep.losses import Losses

WORTH_IT = 0.05
"""Part of the step under which a loss is not worth a change: launches differ by about as much."""
SHARED = 0.10
"""The same for what workers that do not synchronise lose: memory is shared on every machine, and no two are alike."""
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
    if not findings:
        spent = f"{fmt.percent(found.base / found.step)} of the step is what one worker alone needs"
        kept = {
            "data": found.data,
            "sharing a host": found.contention + found.slow_worker,
            "communication": found.exposed + found.engine + found.polling,
        }
        largest = max(kept, key=lambda name: kept[name])
        lost = f"the largest loss, {fmt.percent(kept[largest] / found.step)} to {largest}, is its usual price"
        return f"Nothing is worth changing: {spent}, and {lost}."
    first = findings[0]
    return f"{first.title}: {fmt.seconds(first.seconds)} of each step of {fmt.seconds(found.step)}."


def _finding(
    found: Losses,
    cause: str,
    title: str,
    seconds: float,
    evidence: list[str],
    change: str,
    saved: float,
    least: float,
    otherwise: str = "",
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
        otherwise=otherwise,
    )


def slow_data(found: Losses, oversubscribed: str) -> Finding | None:
    """Every worker waits for its batches before each step."""
    evidence = [f"each worker waits {fmt.seconds(found.data)} for its batches, before it computes anything"]
    otherwise = "store the data nearer, or cheaper to read; a sweep with --synthetic shows what is left without it"
    title = "The data comes too slowly"
    return _finding(found, "slow-data", title, found.data, evidence, "", found.data, WORTH_IT, otherwise)


def slow_worker(found: Losses, oversubscribed: str) -> Finding | None:
    """One worker is slower than the others even where nobody waits for anybody; in each step all wait for it."""
    grown = {part: found.parts[part] - found.others[part] for part in found.parts}
    part = max(grown, key=lambda name: grown[name])
    evidence = [
        f"unsynchronised, worker {found.slowest} on {found.slowest_host} takes {fmt.seconds(found.slow_worker)} longer "
        f"a step than the fastest; {part} takes it {fmt.seconds(found.parts[part])}, "
        f"the others {fmt.seconds(found.others[part])}",
        f"it is given {found.slowest_cpu:.2f} cores for its {fmt.plural(found.threads, 'thread')}",
    ]
    otherwise = (
        f"look at worker {found.slowest} on {found.slowest_host} (other programs, a bound core, heat), or leave that "
        "host out of -H"
    )
    title = f"Worker {found.slowest} is slow, and all others wait for it"
    lost = found.slow_worker
    return _finding(found, "slow-worker", title, lost, evidence, "", lost, SHARED, otherwise)


def contention(found: Losses, oversubscribed: str) -> Finding | None:
    """Workers that do not even synchronise are slower beside each other than one alone."""
    lost, least, change, otherwise = found.contention, WORTH_IT, "", ""
    alone = "alone" if found.mode == "weak" else f"if a {found.workers}th of one worker's took a {found.workers}th"
    evidence = [
        f"a step takes {fmt.seconds(found.base)} {alone}, and {fmt.seconds(found.base + found.contention)} where "
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
            change = f"-np {max(1, found.workers * found.cores // found.local_size)}"
            otherwise = "more hosts, so that each worker has a core"
    elif found.foreign > _FOREIGN:
        cause, title = "contention", "Other programs take the cores"
        lost = max(lost, found.taken)
        evidence.append(f"programs that are not of this run took {fmt.percent(found.foreign)} of the host's cores")
        otherwise = "end the other programs, or give the run hosts of its own"
    else:
        least = SHARED
        cause, title = "contention", "The workers of a host hold each other up"
        evidence.append(
            "cores are enough, and no other program runs: what is shared is memory bandwidth, cache or a quota"
        )
        half = max(1, found.workers // 2)
        change = f"-np {half} train.threads_per_worker={found.threads * found.workers // half}"
        otherwise = "more hosts with fewer workers each"
    return _finding(found, cause, title, lost, evidence, change, lost, least, otherwise)


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
    return _finding(found, "no-fusion", "Too little fusion of gradients", lost, evidence, change, lost, WORTH_IT)


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
        return _thin_link(found, wire)
    return _little_work(found, lost)


def _thin_link(found: Losses, wire: float) -> Finding | None:
    speed = found.volume / max(found.on_the_wire, 1e-9) * 2 * (found.workers - 1) / found.workers
    evidence = [
        f"{fmt.size(found.volume)} of gradients a step and worker take {fmt.seconds(found.on_the_wire)} in a plain "
        f"all-reduce: {fmt.size(speed)}/s, {speed * 8 / 1e9:.2g} Gbit/s",
        f"one worker computes for {fmt.seconds(found.base)} between two of them",
    ]
    title = "The link is too thin"
    if found.compression == "none":
        change, otherwise = "sync.compression=fp16", "a faster link, or more work between two synchronisations"
        return _finding(found, "thin-link", title, wire, evidence, change, wire / 2, INHERENT, otherwise)
    change = _more_work(found, 2)
    return _finding(found, "thin-link", title, wire, evidence, change, wire / 2, INHERENT, "a faster link")


def _little_work(found: Losses, lost: float) -> Finding | None:
    factor = _work_factor(found, lost)
    evidence = [
        f"a worker computes for {fmt.seconds(found.base)} a step, and synchronising costs {fmt.seconds(lost)} more",
        f"{fmt.size(found.volume)} of gradients for {fmt.plural(found.micro_batch_size * found.passes, 'sample')}",
    ]
    title, saved = "Too little work for each worker", lost * (1 - 1 / factor)
    otherwise = "the same global batch with a smaller micro batch, where memory does not hold this one"
    change = _more_work(found, factor)
    return _finding(found, "little-work", title, lost, evidence, change, saved, INHERENT, otherwise)


def unshared_work(found: Losses, oversubscribed: str) -> Finding | None:
    """Sharing a batch out does not share the optimizer's step."""
    evidence = [
        f"the optimizer and what else does not follow the samples take {fmt.seconds(found.unshared)} more of each step "
        f"than a {found.workers}th of one worker's would"
    ]
    title, change = "Work that every worker repeats", _more_work(found, 2)
    return _finding(found, "unshared-work", title, found.unshared, evidence, change, found.unshared / 2, SHARED)


CHECKS: tuple[Callable[[Losses, str], Finding | None], ...] = (
    slow_data, slow_worker, contention, unshared_work, short_cycle, long_cycle, no_fusion, link_or_work,
)  # fmt: skip


def _good_cycle(found: Losses) -> float:
    """Return the cycle time, in ms, whose wait is lost in the step and whose polling is not felt: 4 % of a step."""
    least = _GLOO_CYCLE_MS if found.controller == "gloo" and not found.on_gpu else _CYCLE_MS
    return min(20.0, max(least, round(0.04 * 1000 * (found.step - found.exposed))))


def _more_work(found: Losses, factor: int) -> str:
    """Return the overrides that give each worker more samples between two synchronisations."""
    micro = found.micro_batch_size * factor
    return f"train.micro_batch_size={micro} train.global_batch_size={micro * found.passes * found.workers}"


def _work_factor(found: Losses, lost: float) -> int:
    """Return the power of two by which the work must grow for synchronising to take a tenth of the step."""
    return int(2 ** min(4, max(1, math.ceil(math.log2(max(1.0, lost / (0.1 * max(found.base, 1e-6))))))))
