"""From what workers measured to the figures of a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, median

from hvdtrain.metrics.records import PHASES, TrialRecord
from hvdtrain.metrics.study import Diagnosis, Failure, Mode, ScalabilityLaw, SizeResult
from hvdtrain.metrics.timing import bus_bandwidth, split
from hvdtrain.scaling.sweep.diagnosis import diagnose
from hvdtrain.scaling.sweep.efficiency import fit_law, interval, karp_flatt, speedup
from hvdtrain.scaling.sweep.losses import losses
from hvdtrain.scaling.sweep.plan import Size
from hvdtrain.scaling.sweep.store import Trial, successes

Workers = Sequence[TrialRecord]
"""One launch: what each of its workers measured, by rank."""
Launches = Mapping[int, Workers]
"""The launches of one size, by repeat."""


def throughput(workers: Workers) -> tuple[float, float]:
    """Return samples and targets of all workers a second: their number over the slowest worker's wall time."""
    steps = min(len(one.synchronised or one.floor) for one in workers)
    wall = max(one.wall for one in workers)
    return workers[0].samples * steps / wall, workers[0].tokens * steps / wall


def step_seconds(workers: Workers) -> float:
    """Return the median step of training as it is, of the mean worker."""
    return fmean(median(step["step"] for step in one.synchronised or one.floor) for one in workers)


def unsynchronised_seconds(workers: Workers) -> float:
    """Return the median step of workers that do not synchronise, of the mean worker."""
    return fmean(median(step["step"] for step in one.floor) for one in workers)


def share_of_one(mode: Mode, alone: Workers, workers: int) -> float:
    """Return the seconds that a step of one of n workers takes if nothing is lost: as long as one worker's where work
    grows with them; where they share a batch, its n-th part of data, forward and backward, and all of the rest.
    """
    whole = unsynchronised_seconds(alone)
    if mode == "weak":
        return whole
    shared = sum(median(step[part] for step in alone[0].floor) for part in ("data", "forward", "backward"))
    return whole - shared * (1 - 1 / workers)


def plain_bandwidth(workers: Workers) -> float | None:
    """Return the bus bandwidth, in bytes a second, of an all-reduce of one buffer as large as the gradients.

    A tiny all-reduce begun at the same moment of the engine's cycle waits as long for the engine: that is taken off.
    """
    first = workers[0]
    if first.one_buffer_seconds is None or not first.allreduce:
        return None
    seconds = first.one_buffer_seconds - max(0.0, first.allreduce[0][1] - min(first.latencies))
    return bus_bandwidth(first.bytes_per_step, seconds, first.world_size) if seconds > 0 else None


def size_result(size: Size, launches: Launches, baseline: Launches) -> SizeResult:
    """Return the figures of one size; those that compare it with one worker where that was measured."""
    everyone = list(launches.values())
    some = everyone[0][0]
    known = {
        "mode": size.mode,
        "workers": size.workers,
        "hosts": len({one.host for one in everyone[0]}),
        "threads_per_worker": some.threads,
        "oversubscribed": size.oversubscribed,
        "global_batch_size": some.global_batch_size,
        "micro_batch_size": some.micro_batch_size,
        "gradient_accumulation_steps": some.gradient_accumulation_steps,
        "samples_per_second": interval([throughput(one)[0] for one in everyone]),
        "tokens_per_second": interval([throughput(one)[1] if some.unit == "tokens" else 0.0 for one in everyone]),
        "step": interval([step_seconds(one) for one in everyone]),
        "split": _mean_split(everyone),
        "mfu": _mfu(everyone),
        "memory_bytes": max(one.memory_bytes for workers in everyone for one in workers),
    }
    return SizeResult.model_validate(known | _communication(everyone) | _compared(size, launches, baseline))


def _mean_split(everyone: Sequence[Workers]) -> dict[str, float]:
    splits = [split([_same_length(one, workers) for one in workers]) for workers in everyone]
    return {name: fmean(one[name] for one in splits) for name in ("step", *PHASES)}


def _same_length(one: TrialRecord, workers: Workers) -> Sequence[Mapping[str, float]]:
    steps = one.synchronised or one.floor
    return steps[: min(len(other.synchronised or other.floor) for other in workers)]


def _mfu(everyone: Sequence[Workers]) -> float | None:
    shares = [
        throughput(workers)[1] * workers[0].flops_per_token / sum(one.peak_flops or 0.0 for one in workers)
        for workers in everyone
        if all(one.peak_flops for one in workers)
    ]
    return median(shares) if shares else None


def _communication(everyone: Sequence[Workers]) -> dict[str, object]:
    first = [workers[0] for workers in everyone]
    if first[0].world_size == 1:
        return {}
    plain = [seconds for one in first if (seconds := one.allreduce_seconds)]
    single = [seconds for one in first if (seconds := one.one_buffer_seconds)]
    links = [found for workers in everyone if (found := plain_bandwidth(workers))]
    volume = first[0].bytes_per_step
    return {
        "unsynchronised": interval([unsynchronised_seconds(workers) for workers in everyone]),
        "sync_tax": median(step_seconds(w) / unsynchronised_seconds(w) - 1 for w in everyone),
        "bytes_per_step": volume,
        "tensors": first[0].tensors,
        "allreduce_seconds": median(plain) if plain else None,
        "one_buffer_seconds": median(single) if single else None,
        "bus_bandwidth": bus_bandwidth(volume, median(plain), first[0].world_size) if plain else None,
        "link_bandwidth": median(links) if links else None,
    }


def _compared(size: Size, launches: Launches, baseline: Launches) -> dict[str, object]:
    """Each repeat's launches ran near each other in time, so each gives a ratio of its own."""
    pairs = [(launches[repeat], baseline[repeat]) for repeat in launches if repeat in baseline]
    if not pairs:
        return {}
    if size.mode == "weak":
        ratios = [speedup("weak", throughput(one)[0], throughput(many)[0]) for many, one in pairs]
    else:
        ratios = [speedup("strong", step_seconds(one), step_seconds(many)) for many, one in pairs]
    known: dict[str, object] = {
        "speedup": interval(ratios),
        "efficiency": interval([ratio / size.workers for ratio in ratios]),
        "karp_flatt": karp_flatt(median(ratios), size.workers),
    }
    if size.workers > 1:
        known["contention"] = median(
            unsynchronised_seconds(many) - share_of_one(size.mode, one, size.workers) for many, one in pairs
        )
    return known


def results(sizes: Sequence[Size], trials: Sequence[Trial]) -> list[tuple[Size, SizeResult]]:
    """Return the figures of each size that at least one launch measured."""
    found = []
    for size in sizes:
        launches = successes(trials, size.key)
        if launches:
            found.append((size, size_result(size, launches, baseline(size.mode, sizes, trials))))
    return found


def baseline(mode: Mode, sizes: Sequence[Size], trials: Sequence[Trial]) -> Launches:
    """Return the launches of one worker, with the threads that each of the n has; none where it was not measured."""
    keys = [size.key for size in sizes if size.mode == mode and size.workers == 1 and not size.all_cores]
    return successes(trials, keys[0]) if keys else {}


def failures(sizes: Sequence[Size], trials: Sequence[Trial]) -> list[Failure]:
    """Return the sizes of which a launch failed, with what it said."""
    by_key = {size.key: size for size in sizes}
    return [
        Failure(mode=by_key[trial.key].mode, workers=by_key[trial.key].workers, message=_said(by_key[trial.key], trial))
        for trial in trials
        if trial.error is not None and trial.key in by_key
    ]


def _said(size: Size, trial: Trial) -> str:
    return f"with all cores: {trial.error}" if size.all_cores else trial.error or ""


def diagnoses(sizes: Sequence[Size], trials: Sequence[Trial]) -> list[Diagnosis]:
    """Return why the largest measured size of each mode scales as it does."""
    found = []
    for mode in dict.fromkeys(size.mode for size in sizes):
        measured = [s for s in sizes if s.mode == mode and not s.all_cores and successes(trials, s.key)]
        largest = max(measured, key=lambda size: size.workers, default=None)
        one = baseline(mode, sizes, trials)
        if largest is None or largest.workers == 1 or not one:
            continue
        launches = list(successes(trials, largest.key).values())
        found.append(diagnose(mode, losses(mode, launches, list(one.values())), largest.oversubscribed))
    return found


def laws(found: Sequence[SizeResult]) -> tuple[list[ScalabilityLaw], list[str]]:
    """Return the fitted law of each mode, and for each mode without one the reason."""
    fitted: list[ScalabilityLaw] = []
    reasons: list[str] = []
    modes: list[Mode] = sorted({size.mode for size in found}, reverse=True)
    for mode in modes:
        sizes = sorted((size for size in found if size.mode == mode), key=lambda size: size.workers)
        law = fit_law(mode, [s.workers for s in sizes], [s.samples_per_second.median for s in sizes])
        if isinstance(law, str):
            reasons.append(law)
        else:
            fitted.append(law)
    return fitted, reasons
