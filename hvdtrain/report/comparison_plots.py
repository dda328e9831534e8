"""The drawings of several runs: their curves over each other, and their steps side by side."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from hvdtrain.metrics.records import StepRecord
from hvdtrain.report import drawing
from hvdtrain.report.comparison import letters, run_name, split
from hvdtrain.report.drawing import Panel
from hvdtrain.report.history import History, metric_names
from hvdtrain.report.sources import RunSource

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Curve = tuple[Sequence[float], Sequence[float]]
_MOST_METRICS = 4


def comparison_panels(runs: Sequence[RunSource]) -> list[Panel]:
    """Return the panels: losses over steps and over time, each validation metric, throughput, parts of the step."""
    unit, length = time_unit(max((clock(run.history.curve)[-1] for run in runs if run.history.curve), default=0.0))
    panels = [
        _curves(runs, "Training loss", "step", "loss", partial(_over_steps, name="loss")),
        _curves(runs, "Training loss over time", f"time trained ({unit})", "loss", partial(_over_time, length=length)),
    ]
    named: dict[str, str] = {}
    for run in runs:
        for record in run.history.evals:
            keys = dict.fromkeys(record.metrics, 0.0)
            named |= {key: next(iter(metric_names({key: 0.0})))[0] for key in keys}
    for key, name in list(named.items())[:_MOST_METRICS]:
        panels.append(_curves(runs, f"Validation {name}", "step", name, partial(_evaluated, key=key), dots=True))
    panels.append(_curves(runs, "Throughput, all workers", "step", *_throughput(runs), zero=True))
    # Its legend stands beside it: alone in a row it takes no room from a neighbour.
    last = Panel("where a step's time goes, a bar for each run", partial(_draw_steps, runs=runs), len(panels) % 2 == 0)
    panels.append(last)
    return panels


def comparison_figure(runs: Sequence[RunSource]) -> Figure:
    """Return the panels as one figure."""
    return drawing.figure(comparison_panels(runs), width=12.0)


def clock(steps: Sequence[StepRecord]) -> list[float]:
    """Return the seconds trained at each step: a resumed run's own clock begins anew, and goes on from where it was."""
    seconds: list[float] = []
    before = last = 0.0
    for step in steps:
        if step.elapsed < last:
            before += last
        last = step.elapsed
        seconds.append(before + last)
    return seconds


def time_unit(seconds: float) -> tuple[str, float]:
    """Return the unit in which a time of this length is drawn, and its seconds."""
    return ("seconds", 1.0) if seconds < 180 else ("minutes", 60.0) if seconds < 10_800 else ("hours", 3600.0)


def _curves(
    runs: Sequence[RunSource],
    title: str,
    across: str,
    up: str,
    points: Callable[[History], Curve],
    zero: bool = False,
    dots: bool = False,
) -> Panel:
    def fill(axes: Axes) -> None:
        drawn = 0
        for (label, colour, stroke), run in zip(_looks(runs), runs, strict=True):
            xs, ys = points(run.history)
            if xs:
                marker = "o" if len(xs) == 1 or (dots and len(xs) <= 60) else None
                axes.plot(xs, ys, label=label, color=colour, linestyle=stroke, marker=marker, markersize=4)
                drawn += 1
        if not drawn:
            return drawing.empty(axes, "no run has it")
        axes.set_title(title)
        axes.set_xlabel(across)
        axes.set_ylabel(up)
        axes.set_xlim(left=0)
        drawing.count_on(axes.xaxis)
        if zero:
            from matplotlib.ticker import FuncFormatter

            axes.set_ylim(bottom=0)
            axes.yaxis.set_major_formatter(FuncFormatter(drawing.counted))
        drawing.legend(axes)
        return None

    return Panel(f"{title}, a line for each run", fill)


def _looks(runs: Sequence[RunSource]) -> Iterator[tuple[str, str, str]]:
    """Label, colour and stroke of each run: the stroke differs too, for those who see no colours."""
    for index, (name, run) in enumerate(zip(letters(len(runs)), runs, strict=True)):
        series, strokes = drawing.SERIES, drawing.STROKES
        stroke = strokes[(index + index // len(series)) % len(strokes)]
        yield f"{name}: {drawing.label(run_name(run), 30)}", series[index % len(series)], stroke


def _over_steps(history: History, name: str) -> Curve:
    steps = drawing.thin(history.curve)
    return [step.step for step in steps], [_finite(getattr(step, name)) for step in steps]


def _over_time(history: History, length: float) -> Curve:
    pairs = drawing.thin(list(zip(clock(history.curve), history.curve, strict=True)))
    return [seconds / length for seconds, _ in pairs], [_finite(step.loss) for _, step in pairs]


def _evaluated(history: History, key: str) -> Curve:
    evals = drawing.thin([one for one in history.evals if key in one.metrics])
    return [one.step for one in evals], [_finite(one.metrics[key]) for one in evals]


def _throughput(runs: Sequence[RunSource]) -> tuple[str, Callable[[History], Curve]]:
    """Tokens where all have them: runs of different tasks have only samples in common."""
    tokens = all(run.history.unit == "tokens" for run in runs)
    name, unit = ("tokens_per_second", "tokens/s") if tokens else ("samples_per_second", "samples/s")
    return unit, partial(_over_steps, name=name)


def _draw_steps(axes: Axes, runs: Sequence[RunSource]) -> None:
    bars = [(name, dict(split(run.history))) for name, run in zip(letters(len(runs)), runs, strict=True)]
    if not any(times for _, times in bars):
        return drawing.empty(axes, "no step was timed")
    unit = drawing.stack(axes, bars)
    axes.set_title("Where a step's time goes")
    axes.set_xlabel("run")
    axes.set_ylabel(f"mean time of a step ({unit})")
    handles, names = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], names[::-1], loc="center left", bbox_to_anchor=(1.0, 0.5))
    return None


def _finite(value: float) -> float:
    return value if math.isfinite(value) else math.nan
