"""The picture of a run at one moment, for a terminal of a given size."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from hvdtrain.metrics.records import StartRecord
from hvdtrain.report import format as fmt
from hvdtrain.report.curve import draw
from hvdtrain.report.history import History, metric_names

# Each group of a step's parts has its own shade as well as its colour: without colours they still differ.
_SHADES = {
    "data": ("blue", "▒"),
    "compute": ("green", "█"),
    "communication": ("yellow", "▓"),
    "imbalance": ("magenta", "▒"),
    "other": ("bright_black", "░"),
}
_CURVE_HEIGHT = 7
_LABEL = 14


def panel(
    history: History,
    *,
    elapsed: float,
    since_last: float,
    notice: str,
    width: int,
    sample_lines: int,
) -> RenderableType:
    """Return the view of a run: progress, loss and its curve, rates, where a step's time goes, the last evaluation and
    sample.

    `elapsed` are the seconds that the person who watches has waited; `since_last` those since the last record, by which
    the time left counts down; `width` the columns of the terminal, `sample_lines` the lines that the sample may take.
    """
    inner = max(20, width - 4)
    parts: list[RenderableType] = []
    if history.start:
        parts.append(_facts(history.start, history.world_size))
        parts += [Text(history.apart, style="bold yellow")] if history.apart else []
        parts += [_progress(history, elapsed, since_last, inner)]
    parts += [Text(), _numbers_and_curve(history, inner), Text()]
    parts += _step_time(history, inner)
    parts.append(_happenings(history, sample_lines=sample_lines))
    name = history.start.name if history.start else "starting"
    return Panel(
        Group(*parts),
        title=Text.assemble("hvdtrain  ", (name, "bold")),
        title_align="left",
        subtitle=Text(notice, style="dim") if notice else None,
        subtitle_align="right",
        box=box.ROUNDED,
        border_style="bright_black",
        width=width,
    )


def _facts(start: StartRecord, workers: int) -> Text:
    where = "" if start.hosts == 1 else f" on {start.hosts} hosts"
    facts = [
        f"{fmt.plural(workers, 'worker')}{where}",
        start.device,
        f"{fmt.plural(start.threads_per_worker, 'thread')} each",
        start.precision,
        f"{fmt.quantity(start.parameters)} parameters",
        f"batch {start.global_batch_size}",
    ]
    return Text(", ".join(facts), style="dim")


def _progress(history: History, elapsed: float, since_last: float, width: int) -> RenderableType:
    total = history.start.total_steps if history.start else 0
    done = history.steps_done
    left = history.seconds_left()
    times = f"{fmt.duration(elapsed)} gone"
    if left is not None:
        times += f", {fmt.duration(max(0.0, left - since_last))} left"
    share = done / total if total else 0.0
    before, after = f"step {done:,}/{total:,}  ", f"  {fmt.percent(share)}  {times}"
    length = max(5, width - len(before) - len(after))
    bar = ProgressBar(total=max(1, total), completed=done, width=length, complete_style="cyan", finished_style="green")
    row = Table.grid()
    row.add_row(Text(before, style="bold"), bar, Text(after))
    return row


def _numbers_and_curve(history: History, width: int) -> RenderableType:
    numbers = _numbers(history)
    left = Table.grid(padding=(0, 2, 0, 0))
    left.add_column(style="dim", min_width=_LABEL, no_wrap=True)
    left.add_column(min_width=9, no_wrap=True)
    for name, value, style in numbers:
        left.add_row(name, Text(value, style=style))
    curve_width = width - (_LABEL + 2 + 9 + 2)
    if curve_width < 16 or len(history.losses) < 2:
        return left
    row = Table.grid()
    row.add_row(left, _curve(history.losses, curve_width))
    return row


def _numbers(history: History) -> list[tuple[str, str, str]]:
    step = history.step
    if step is None:
        return [("loss", "waiting for the first steps", "")]
    bad = "bold red" if step.loss != step.loss or abs(step.loss) == float("inf") else "bold cyan"
    return [
        ("loss", fmt.loss(step.loss), bad),
        ("learning rate", fmt.learning_rate(step.lr), ""),
        ("gradient norm", fmt.metric(step.grad_norm), ""),
        (f"{history.unit}/s", fmt.rate(step.tokens_per_second), "bold"),
        ("  a worker", fmt.rate(step.tokens_per_second / max(1, step.world_size - step.servers)), ""),
        ("step time", fmt.seconds(step.seconds["step"]) if "step" in step.seconds else "-", ""),
        ("memory", fmt.size(step.memory_bytes) if step.memory_bytes else "-", ""),
    ]


def _curve(losses: Sequence[float], width: int) -> RenderableType:
    finite = [value for value in losses if abs(value) < float("inf")]
    high, low = (fmt.metric(max(finite)), fmt.metric(min(finite))) if finite else ("", "")
    margin = max(len(high), len(low), 4)
    lines = draw(losses, width - margin - 2, _CURVE_HEIGHT)
    text = Text(no_wrap=True)
    for index, line in enumerate(lines):
        label = high if index == 0 else low if index == len(lines) - 1 else "loss" if index == len(lines) // 2 else ""
        text.append(f"{label:>{margin}} │", style="dim")
        text.append(line + ("\n" if index < len(lines) - 1 else ""), style="cyan")
    return text


def _step_time(history: History, width: int) -> list[RenderableType]:
    shares = fmt.group_shares(history.step.seconds) if history.step else {}
    if not shares:
        return []
    length = width - _LABEL - 2
    bar, ends = Text(no_wrap=True), 0.0
    items = []
    for group, share in shares.items():
        colour, glyph = _SHADES[group]
        begin, ends = ends, ends + max(0.0, share)
        # Rounding the ends rather than the lengths makes the parts fill the bar exactly.
        cells = round(min(1.0, ends) * length) - round(min(1.0, begin) * length)
        bar.append(glyph * cells, style=colour)
        items.append(Text.assemble((glyph, colour), f" {group} {fmt.percent(share)}"))
    return [_labelled([("time of a step", bar), ("", _packed(items, length))])]


def _packed(items: Sequence[Text], width: int) -> Text:
    """Return the items in lines of a width, none of them broken."""
    text, used = Text(), 0
    for item in items:
        gap = 3 if used else 0
        if used + gap + len(item) > width:
            text.append("\n")
            gap, used = 0, 0
        text.append(" " * gap).append_text(item)
        used += gap + len(item)
    return text


def _happenings(history: History, *, sample_lines: int) -> RenderableType:
    rows: list[tuple[str, RenderableType]] = []
    if history.eval:
        values = [f"{name} {fmt.metric(value)}" for name, value in metric_names(history.eval.metrics)]
        rows.append(("validation", Text(", ".join(values)).append(f"  at step {history.eval.step:,}", style="dim")))
    if history.checkpoint:
        rows.append(("checkpoint", Text(history.checkpoint.path, overflow="ellipsis", no_wrap=True)))
    if history.resize:
        change = f"{history.resize.before} to {history.resize.after} at step {history.resize.step:,}"
        rows.append(("workers", Text(change)))
    if history.problem:
        told = Text(f"{history.problem.problem}: {history.problem.action}", style="yellow")
        rows.append(("warning", _Clipped(told, 2)))
    if history.sample and sample_lines > 0:
        text = fmt.excerpt(history.sample.prompt + history.sample.text)
        rows.append(("sample", _Clipped(Text(text, style="italic"), sample_lines)))
    return _labelled(rows)


def _labelled(rows: Sequence[tuple[str, RenderableType]]) -> RenderableType:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim", min_width=_LABEL, no_wrap=True)
    table.add_column(ratio=1)
    for name, content in rows:
        table.add_row(name, content)
    return table


class _Clipped:
    """Text that takes no more than some lines, however often it wraps."""

    def __init__(self, text: Text, lines: int) -> None:
        self._text, self._lines = text, lines

    def __rich_console__(self, console, options):  # type: ignore[no-untyped-def]
        lines = self._text.wrap(console, options.max_width)
        yield Text("\n").join(lines[: self._lines])
