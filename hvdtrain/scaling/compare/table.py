"""From what the workers of all runs measured to one figure for each strategy, and the order of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, median
from typing import Any

from hvdtrain.metrics.strategies import FLOOR, Comparison, Refused, StrategyRecord, StrategyResult
from hvdtrain.scaling.compare.run import Runs
from hvdtrain.scaling.compare.verdict import verdict
from hvdtrain.scaling.sweep.efficiency import interval

Workers = Sequence[StrategyRecord]
"""One run: what each of its workers measured, by rank."""


def step_seconds(workers: Workers) -> float:
    """Return the seconds of an update in one run: the mean over its timed updates, of the mean worker."""
    return fmean(one.wall / one.timed for one in workers)


def make_comparison(runs: Runs, settings: Mapping[str, Any]) -> Comparison:
    """Return the comparison: the fastest first, the floor last.

    Args:
        settings: what `Comparison` holds beside the figures.
    """
    everyone = [workers for rounds in runs.done.values() for workers in rounds.values()]
    some = everyone[0][0] if everyone else None
    metric, mode = _judged_by(some) if some else ("loss", "min")
    floor = runs.done.get(FLOOR, {})
    results = [strategy_result(name, rounds, floor, metric) for name, rounds in runs.done.items()]
    results.sort(key=lambda one: (one.floor, one.step.median))
    refused = [Refused(strategy=name, message=said) for name, said in runs.refused.items()]
    refused += [Refused(strategy=name, message=said, failed=True) for name, said in runs.failed.items()]
    known = dict(settings) | {"metric": metric, "mode": mode, "refused": tuple(refused), "results": tuple(results)}
    if some is not None:
        known |= {
            "updates": some.step,
            "hosts": len({one.host for one in everyone[0]}),
            "loss_unit": some.loss_unit,
            "unit": some.unit,
            "parameters": some.parameters,
            "device": some.device,
            "precision": some.precision,
            "controller": some.controller,
            "threads_per_worker": some.threads,
            "batch": f"{some.global_batch_size} = {some.micro_batch_size} x {some.world_size} workers"
            + (f" x {some.gradient_accumulation_steps}" if some.gradient_accumulation_steps > 1 else ""),
            "notes": tuple(dict.fromkeys(note for workers in everyone for one in workers for note in one.notes)),
        }
    made = Comparison(**known)
    return made.model_copy(update={"verdict": verdict(made)})


def strategy_result(
    name: str, rounds: Mapping[int, Workers], floor: Mapping[int, Workers], metric: str
) -> StrategyResult:
    """Return the figures of one strategy; its tax is taken within each round, whose runs were near each other."""
    runs = list(rounds.values())
    taxes = [step_seconds(rounds[r]) / step_seconds(floor[r]) - 1 for r in rounds if r in floor and name != FLOOR]
    first = runs[0]
    served = [one.server_bytes_per_step for one in first if one.server_bytes_per_step is not None]
    return StrategyResult(
        strategy=name,
        step=interval([step_seconds(workers) for workers in runs]),
        sync_tax=interval(taxes) if taxes else None,
        samples_per_second=median(_rate(workers, "samples") for workers in runs),
        tokens_per_second=median(_rate(workers, "tokens") for workers in runs),
        bytes_per_step=max(one.bytes_per_step for one in first),
        server_bytes_per_step=max(served) if served else None,
        sent_bytes=median(max(one.sent_bytes for one in workers) for workers in runs),
        train_loss=interval([fmean(one.train_loss for one in workers) for workers in runs]),
        validation=interval([fmean(one.metrics.get(metric, one.train_loss) for one in workers) for workers in runs]),
        metrics={key: fmean(one.metrics[key] for one in first) for key in first[0].metrics},
        memory_bytes=tuple(
            round(median(each)) for each in zip(*([w.memory_bytes for w in r] for r in runs), strict=True)
        ),
        state_bytes=tuple(one.state_bytes for one in first),
        coupled=first[0].coupled,
        global_batch_size=first[0].global_batch_size,
        engine={} if name == FLOOR else dict(first[0].engine),
    )


def _rate(workers: Workers, what: str) -> float:
    """Return what all workers did a second: all of them know the whole amount."""
    return float(fmean(getattr(one, what) / one.wall for one in workers))


def _judged_by(one: StrategyRecord) -> tuple[str, str]:
    """Return the metric by which results are held against each other: the loss, or where there is none the task's
    objective; with neither it is the training loss.
    """
    return one.objective if "loss" not in one.metrics and one.objective[0] in one.metrics else ("loss", "min")
