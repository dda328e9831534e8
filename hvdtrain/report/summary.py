"""What a run came to: one list of facts in sections, shown as a table at the end and written into report.md."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hvdtrain.metrics.records import PHASES, EndRecord, StartRecord
from hvdtrain.report import format as fmt
from hvdtrain.report.history import History, metric_names, ordered

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

REASONS = {
    "finished": "finished",
    "converged": "stopped early: evaluations no longer improved",
    "stopped": "stopped on request, with a checkpoint",
    "failed": "failed",
}
_NAME, _VALUE, _BAR = 20, 18, 12


@dataclass(frozen=True)
class Fact:
    """A name, its value with the unit, and a note on what it means; `share` is the value's part of the whole."""

    name: str
    value: str
    note: str = ""
    share: float | None = None


@dataclass(frozen=True)
class Section:
    """Facts that belong together."""

    title: str
    facts: tuple[Fact, ...]


def sections(history: History) -> list[Section]:
    """Return what is known of the run; values that are missing are left out, and so are sections without a fact."""
    end, start = history.end, history.start
    made = [
        Section("Result", tuple(_result(history))),
        Section("Loss", tuple(_losses(history))),
        Section("Throughput", tuple(_throughput(end, history.unit))),
        Section(
            "Where a step's time goes (communication: what is not hidden behind backward)",
            tuple(_step_time(_seconds(history))),
        ),
        Section("Hardware", tuple(_hardware(end, start))),
        Section("Communication", tuple(_communication(end, start))),
        Section("Files", tuple(_files(history))),
    ]
    return [section for section in made if section.facts]


def _result(history: History) -> list[Fact]:
    start, end = history.start, history.end
    reason = REASONS.get(end.reason, end.reason) if end else "ended without a last record"
    facts = [Fact("run", f"{start.name}: {reason}" if start else reason)]
    if history.apart:
        what, _, meaning = history.apart.partition(": ")
        facts.append(Fact("workers", what, meaning))
    total = f" of {start.total_steps:,}" if start else ""
    facts.append(
        Fact("steps", f"{history.steps_done:,}{total}", f"resumed at {start.step:,}" if start and start.step else "")
    )
    last = end or history.step
    if last:
        seen = Fact("trained on", f"{last.tokens:,} tokens", f"{last.samples:,} samples")
        facts.append(seen if history.unit == "tokens" else Fact("trained on", f"{last.samples:,} samples"))
        facts.append(Fact("time", fmt.duration(last.elapsed), "evaluation and checkpoints included"))
    return facts


def _losses(history: History) -> list[Fact]:
    facts = []
    train = history.end.train_loss if history.end else history.step.loss if history.step else None
    if train is not None:
        unit = f", {_loss_unit(history)}" if _loss_unit(history) else ""
        facts.append(Fact("training", fmt.loss(train), f"mean of the last window{unit}"))
        phases = history.step.losses if history.step else {}
        facts += [Fact(f"  {name}", fmt.loss(value)) for name, value in phases.items()]
    metrics: Mapping[str, float] = (history.end.metrics if history.end else {}) or (
        history.eval.metrics if history.eval else {}
    )
    for (name, value), key in zip(metric_names(metrics), ordered(metrics), strict=True):
        shown = fmt.loss(value) if key == "loss" else fmt.metric(value)
        facts.append(Fact("validation" if key == "loss" else name, shown, _metric_note(key, history)))
    marks = history.start.references if history.start else {}
    for metric, references in marks.items():
        facts += [_reference(metric, name, mark, metrics.get(metric)) for name, mark in references.items()]
    return facts


def _metric_note(name: str, history: History) -> str:
    objective = history.objective[0]
    if name not in ("loss", objective) or history.eval is None:
        return ""
    unit = f"{_loss_unit(history)}, " if name == "loss" and _loss_unit(history) else ""
    at = f"{unit}at step {history.eval.step:,}"
    if name != objective or history.best is None or history.best.step == history.eval.step:
        return at
    return f"{at}; best {fmt.loss(history.best.metrics[name])} at step {history.best.step:,}"


def _loss_unit(history: History) -> str:
    return history.start.loss_unit if history.start else ""


def _reference(metric: str, name: str, mark: float, value: float | None) -> Fact:
    """Say where validation stands beside a mark; a loss is one that is named so, and is better below."""
    shown = dict(metric_names({metric: mark}))
    what = "loss" if metric == "loss" else next(iter(shown))
    if value is None or not math.isfinite(value):
        return Fact(name, fmt.loss(mark), what)
    side = "below" if value <= mark else "above"
    return Fact(name, fmt.loss(mark), f"{what}; validation is {fmt.metric(abs(mark - value))} {side} it")


def _throughput(end: EndRecord | None, unit: str) -> list[Fact]:
    if end is None or not end.tokens_per_second:
        return []
    workers = max(1, end.world_size - end.servers)
    samples = f"{fmt.rate(end.samples_per_second)} samples/s" if unit == "tokens" else ""
    facts = [Fact("all workers", f"{fmt.rate(end.tokens_per_second)} {unit}/s", samples)]
    if workers > 1:
        facts.append(Fact("a worker", f"{fmt.rate(end.tokens_per_second / workers)} {unit}/s", f"{workers} workers"))
    return facts


def _seconds(history: History) -> Mapping[str, float]:
    return (history.end.seconds if history.end else {}) or (history.step.seconds if history.step else {})


def _step_time(times: Mapping[str, float]) -> list[Fact]:
    shares = fmt.phase_shares(times)
    if not shares:
        return []
    facts = [Fact("a step", fmt.seconds(times["step"]), "mean over workers and logged steps")]
    for phase in PHASES:
        share = shares[phase]
        facts.append(Fact(phase, fmt.seconds(times.get(phase, 0.0)), f"{fmt.percent(share, 1):>6}", share))
    return facts


def _hardware(end: EndRecord | None, start: StartRecord | None) -> list[Fact]:
    facts = []
    if start:
        where = "" if start.hosts == 1 else f" on {start.hosts} hosts"
        threads = fmt.plural(start.threads_per_worker, "thread")
        servers = f" and {fmt.plural(start.servers, 'server')}" if start.servers else ""
        workers = f"{start.world_size - start.servers}{servers}{where}, {start.device}"
        facts.append(Fact("workers", workers, f"{threads} each"))
        facts.append(Fact("precision", start.precision, start.precision_reason))
    if end and end.mfu is not None:
        peak = "" if end.peak_flops is None else f"of {fmt.quantity(end.peak_flops, 'FLOP/s')}"
        source = f"({end.peak_source})" if end.peak_source else ""
        facts.append(Fact("MFU", fmt.percent(end.mfu, 1), f"{peak} {source}".strip()))
    if end and end.memory_bytes:
        facts.append(Fact("memory", fmt.size(end.memory_bytes), "largest worker"))
    return facts


def _communication(end: EndRecord | None, start: StartRecord | None) -> list[Fact]:
    facts: list[Fact] = []
    if end is None or end.world_size == 1:
        return facts
    if start:
        facts.append(Fact("synchronisation", start.sync, fmt.engine(start.engine)))
    if end.server_bytes:
        facts += _server_link(end)
    elif end.allreduce_bytes:
        facts.append(
            Fact(
                "handed over",
                f"{fmt.size(end.allreduce_bytes)} a step",
                "to the engine, by each worker",
            )
        )
    if end.allreduce_seconds:
        facts.append(
            Fact("all-reduce alone", fmt.seconds(end.allreduce_seconds), "the same tensors, nothing else running")
        )
    if end.bus_bandwidth:
        n = end.world_size
        facts.append(Fact("bus bandwidth", f"{fmt.size(end.bus_bandwidth)}/s", f"bytes / time x 2(n-1)/n, n = {n}"))
    return facts


def _server_link(end: EndRecord) -> list[Fact]:
    """Say what the busiest server's link carries, beside what a ring all-reduce of the gradients, S bytes, has every
    link carry: 2 (n-1)/n S each way. Workers and engine exchange 2 S for each worker, less what a server that is a
    worker too hands itself, which makes it 2 (n-1)/n S.
    """
    into, out = end.server_bytes or (0, 0)
    workers = end.world_size - end.servers
    ring = end.allreduce_bytes * (workers - 1) / workers if end.servers else end.allreduce_bytes
    beside = f"; in a ring all-reduce every link {fmt.size(ring)} each way" if workers > 1 else ""
    return [
        Fact("push and pull", f"{fmt.size(end.allreduce_bytes)} a step", "a worker's, both ways, the mean"),
        Fact(
            "server link",
            f"{fmt.size(into)} in + {fmt.size(out)} out",
            f"an update for {fmt.plural(workers, 'worker')}{beside}",
        ),
    ]


def _files(history: History) -> list[Fact]:
    facts = [Fact("run directory", history.start.output_dir)] if history.start else []
    if history.end and history.end.best and history.end.best != history.end.checkpoint:
        facts.append(Fact("best checkpoint", history.end.best))
    checkpoint = (history.end.checkpoint if history.end else None) or (
        history.checkpoint.path if history.checkpoint else None
    )
    return [*facts, Fact("checkpoint", checkpoint)] if checkpoint else facts


def plain_summary(history: History) -> str:
    """Return the summary as aligned text, ASCII only where the values are."""
    lines = []
    for section in sections(history):
        lines.append(section.title)
        for fact in section.facts:
            note = f"  {fact.note}" if fact.note else ""
            lines.append(f"  {fact.name:<18} {fact.value:<18}{note}".rstrip())
    return "\n".join(lines)


def rich_summary(history: History) -> RenderableType:
    """Return the summary for a terminal; on a narrow one the notes wrap beneath their values."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    parts: list[RenderableType] = []
    for section in sections(history):
        parts.append(Text(section.title, style="bold"))
        for fact in section.facts:
            row = Table.grid()
            row.add_column(width=_NAME, style="dim", no_wrap=True)
            noted = bool(fact.note) and len(fact.value) < _VALUE
            row.add_column(width=_VALUE if noted else None, overflow="fold")
            row.add_column(overflow="fold")
            note = _note(fact)
            value = Text(fmt.clean(fact.value))
            row.add_row(
                f"  {fact.name}",
                value if noted else value.append_text(Text("  ") + note if note else Text()),
                note if noted else "",
            )
            parts.append(row)
    return Group(*parts)


def _note(fact: Fact) -> Text:
    from rich.text import Text

    if fact.share is None:
        return Text(fmt.clean(fact.note), style="dim")
    bar = "━" * round(_BAR * max(0.0, min(1.0, fact.share)))
    return Text.assemble((f"{fact.note}  ", "dim"), (bar, "green"))
