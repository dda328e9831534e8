"""The tables of a scaling study: how it scaled, where a step's time goes, what the communication does."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from hvdtrain.metrics.records import PHASES
from hvdtrain.metrics.study import Interval, SizeResult
from hvdtrain.report import format as fmt
from hvdtrain.report.document import Table

Show = Callable[[float], str]


def scaling_table(sizes: Sequence[SizeResult]) -> Table:
    """Return the first table: throughput, speedup, efficiency, and what takes from them, a row for each size."""
    name, rates = throughput(sizes)
    columns = (
        "workers", name, "speedup", "efficiency", "sync tax", "contention", "Karp-Flatt", "MFU",
    )  # fmt: skip
    rows = []
    for size, rate in zip(sizes, rates, strict=True):
        rows.append(
            (
                workers(size),
                _spread(rate, fmt.rate),
                _spread(size.speedup, lambda value: f"{value:.2f}"),
                _spread(size.efficiency, lambda value: fmt.percent(value, 1)),
                fmt.percent(size.sync_tax, 1),
                "-" if size.contention is None else _signed_seconds(size.contention),
                "-" if size.karp_flatt is None or not math.isfinite(size.karp_flatt) else f"{size.karp_flatt:.3f}",
                fmt.percent(size.mfu, 1),
            )
        )
    spread = spread_note([*rates, *(size.efficiency for size in sizes), *(size.speedup for size in sizes)])
    return Table(columns, tuple(rows), notes=(*spread, *marks(sizes)))


def split_table(sizes: Sequence[SizeResult]) -> Table:
    """Return the second table: the parts of a step of each size, shown so that they sum to the step as it is shown."""
    longest = max((size.split.get("step", 0.0) for size in sizes), default=0.0)
    digits = 0 if longest >= 10 else 1 if longest >= 0.1 else 2 if longest >= 0.01 else 3
    columns = ("workers", *PHASES, "step", "median step", "not synchronised")
    rows = []
    for size in sizes:
        parts = rounded_parts(size.split, digits)
        unsynchronised = size.unsynchronised or (size.step if size.workers == 1 else None)
        medians = (size.step.median, unsynchronised.median if unsynchronised else None)
        shown = ("-" if value is None else f"{1e3 * value:,.{digits}f}" for value in medians)
        rows.append((workers(size), *(f"{parts[name]:,.{digits}f}" for name in (*PHASES, "step")), *shown))
    notes = (
        "Times in milliseconds. The parts are means over workers and steps and sum to the mean step; communication is "
        "the exposed part. The two medians are those from which sync tax and contention follow.",
        *marks(sizes),
    )
    return Table(columns, tuple(rows), notes, turned=True)


def communication_table(sizes: Sequence[SizeResult]) -> Table | None:
    """Return the third table: what the all-reduce moves and how fast, against what the link does with one buffer."""
    several = [size for size in sizes if size.workers > 1]
    if not several:
        return None
    columns = (
        "workers",
        "bytes a step",
        "tensors",
        "all-reduce alone",
        "bus bandwidth",
        "link, one buffer",
        "of the link",
    )
    rows = []
    for size in several:
        own, link = size.bus_bandwidth, size.link_bandwidth
        rows.append(
            (
                workers(size),
                fmt.size(size.bytes_per_step) if size.bytes_per_step else "-",
                f"{size.tensors:,}" if size.tensors else "-",
                fmt.seconds(size.allreduce_seconds) if size.allreduce_seconds is not None else "-",
                _bandwidth(own),
                _bandwidth(link),
                fmt.percent(own / link) if own and link else "-",
            )
        )
    notes = (
        "Bytes: what one worker hands to the engine in a step. All-reduce alone: of tensors like the gradients, "
        "nothing else running, the wait for the engine's cycle included. Link: a plain all-reduce of one buffer of as "
        "many bytes, that wait left out.",
        *marks(several),
    )
    return Table(columns, tuple(rows), notes)


def throughput(sizes: Sequence[SizeResult]) -> tuple[str, list[Interval]]:
    """Return the unit of throughput and each size's: tokens, or samples where a task has no tokens."""
    if any(size.tokens_per_second.median for size in sizes):
        return "tokens/s", [size.tokens_per_second for size in sizes]
    return "samples/s", [size.samples_per_second for size in sizes]


def workers(size: SizeResult) -> str:
    """Return a size's name: its workers, its hosts where there are several, a star where it is oversubscribed."""
    hosts = f"\non {size.hosts} hosts" if size.hosts > 1 else ""
    return f"{size.workers:,}{'*' if size.oversubscribed else ''}{hosts}"


def marks(sizes: Sequence[SizeResult]) -> tuple[str, ...]:
    """Return the sentence that says what the star means, where there is one."""
    marked = [f"{fmt.plural(size.workers, 'worker')}: {size.oversubscribed}" for size in sizes if size.oversubscribed]
    why = "measured anyway, but its figures say little of a machine that has the cores"
    return (f"* oversubscribed ({'; '.join(marked)}): {why}.",) if marked else ()


def spread_note(intervals: Sequence[Interval | None]) -> tuple[str, ...]:
    """Return the sentence that says what stands beneath the figures."""
    kinds: dict[str, set[int]] = {}
    for interval in intervals:
        if interval is not None:
            kinds.setdefault(interval.kind, set()).add(interval.launches)
    said = []
    for kind, launches in kinds.items():
        count = f"{min(launches)}" if len(launches) == 1 else f"{min(launches)} to {max(launches)}"
        if kind == "one launch":
            said.append("of a single launch, where nothing stands beneath, no spread is known")
        elif kind == "range":
            said.append(f"the range over {count} launches (a confidence interval takes five)")
        else:
            said.append(f"a {kind} over {count} launches")
    return (f"Figures are medians over launches; beneath them: {'; '.join(said)}.",) if said else ()


def rounded_parts(split: Mapping[str, float], digits: int) -> dict[str, float]:
    """Return the step and its parts in milliseconds, rounded to `digits` so that the parts still sum to the step.

    Largest remainders: each part is rounded down, and those that lost most get the units that are missing.
    """
    unit = 1e3 * 10**digits
    values = [unit * split.get(name, 0.0) for name in PHASES]
    whole = [math.floor(value) for value in values]
    step = round(unit * split.get("step", sum(split.get(name, 0.0) for name in PHASES)))
    missing = step - sum(whole)
    order = sorted(range(len(values)), key=lambda index: whole[index] - values[index])
    if 0 <= missing <= len(order):
        for index in order[:missing]:
            whole[index] += 1
    return {name: count / 10**digits for name, count in zip((*PHASES, "step"), (*whole, step), strict=True)}


def _spread(interval: Interval | None, show: Show) -> str:
    if interval is None:
        return "-"
    if interval.kind == "one launch":
        return show(interval.median)
    return f"{show(interval.median)}\n{show(interval.low).removesuffix(' %')} to {show(interval.high)}"


def _signed_seconds(value: float) -> str:
    """Times that are differences may be below zero, by noise."""
    return f"{1e3 * value:,.1f} ms" if math.isfinite(value) else "-"


def _bandwidth(value: float | None) -> str:
    return f"{fmt.size(value)}/s" if value is not None else "-"
