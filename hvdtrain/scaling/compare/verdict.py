"""What a comparison comes to, in sentences: which is fastest, which needs least memory, which costs loss."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf, isfinite

from hvdtrain.metrics.strategies import Comparison, StrategyResult
from hvdtrain.report import format as fmt

ALIKE = 0.005
"""Validation that differs by less than this part of the best is called alike: rounding and order of sums make some."""
SAME_MEMORY = 0.02


def verdict(comparison: Comparison) -> tuple[str, ...]:
    """Return the sentences; none where no strategy was measured beside the floor."""
    ranked = [one for one in comparison.results if not one.floor]
    if not ranked:
        return ()
    return (_speed(ranked, comparison.rounds), *_memory(ranked), *_validation(ranked, comparison))


def _speed(ranked: Sequence[StrategyResult], rounds: int) -> str:
    best = ranked[0]
    tax = f", {_signed(best.sync_tax.median)} against workers that do not synchronise" if best.sync_tax else ""
    time = f"{fmt.seconds(best.step.median)} an update{tax}"
    if len(ranked) == 1:
        return f"{best.strategy} takes {time}."
    close = [one for one in ranked[1:] if one.step.low <= best.step.high]
    last = f"; the slowest, {ranked[-1].strategy}, takes {ranked[-1].step.median / best.step.median:.2f} times as long"
    if rounds == 1:
        return f"{best.strategy} is the fastest of a single round, which proves little: {time}{last}."
    if not close:
        return f"{best.strategy} is the fastest: {time}{last}."
    why = f"its times and those of {_listed([one.strategy for one in close])} overlap"
    return f"{best.strategy} is the fastest, but {why}: {time}{last if len(close) < len(ranked) - 1 else ''}."


def _memory(ranked: Sequence[StrategyResult]) -> Iterator[str]:
    sizes = sorted((max(one.memory_bytes), one.strategy) for one in ranked if one.memory_bytes)
    if len(sizes) < 2 or not sizes[0][0]:
        return
    (least, name), (most, other) = sizes[0], sizes[-1]
    if most <= (1 + SAME_MEMORY) * least:
        yield f"Their largest workers need the same memory within {fmt.percent(SAME_MEMORY)}: {fmt.size(least)}."
    else:
        yield f"{name} needs the least memory: {fmt.size(least)} in its largest worker, {other} {fmt.size(most)}."


def _validation(ranked: Sequence[StrategyResult], comparison: Comparison) -> Iterator[str]:
    if len(ranked) < 2:
        return
    sign = 1 if comparison.mode == "min" else -1
    what = "validation loss" if comparison.metric == "loss" else comparison.metric
    after = f"After {fmt.plural(comparison.updates, 'update')}"
    best = min(ranked, key=lambda one: sign * one.validation.median if isfinite(one.validation.median) else inf)
    value = best.validation.median
    behind = {one.strategy: sign * (one.validation.median - value) / abs(value or 1) for one in ranked}
    worse = {name: loss for name, loss in sorted(behind.items(), key=lambda item: -item[1]) if not loss < ALIKE}
    if not worse:
        yield f"{after} all have the same {what} within {fmt.percent(ALIKE, 1)}: {fmt.loss(value)}."
        return
    side = "above" if sign > 0 else "below"
    said = [
        f"{name}'s is {fmt.percent(loss, 1)} {side} it" if isfinite(loss) else f"{name}'s is no number"
        for name, loss in worse.items()
    ]
    yield f"{after} the best {what} is {fmt.loss(value)} ({best.strategy}); {_listed(said)}."


def _listed(items: Sequence[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def _signed(share: float) -> str:
    return f"{100 * share:+.1f} %"
