"""The drawings of one run: losses, rates, and where a step's time goes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING

from hvdtrain.metrics.records import PHASES, StepRecord
from hvdtrain.report import drawing
from hvdtrain.report import format as fmt
from hvdtrain.report.drawing import PHASE_COLOURS, Panel
from hvdtrain.report.history import History, metric_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def run_panels(history: History) -> list[Panel]:
    """Return the panels that show a run: loss, throughput, learning rate, the step's parts over the run."""
    name = history.objective[0]
    objective = Panel(f"{name} over the steps, validation", lambda axes: draw_objective(axes, history), wide=True)
    return [
        *([objective] if name != "loss" and any(name in one.metrics for one in history.evals) else []),
        Panel("loss over the steps, training and validation", lambda axes: draw_loss(axes, history), wide=True),
        Panel("throughput of all workers over the steps", lambda axes: draw_throughput(axes, history)),
        Panel("learning rate over the steps", lambda axes: draw_learning_rate(axes, history)),
        Panel("where a step's time goes, over the steps", lambda axes: draw_parts(axes, history), wide=True),
    ]


def run_figure(history: History) -> Figure:
    """Return the panels of a run as one figure."""
    return drawing.figure(run_panels(history))


def draw_loss(axes: Axes, history: History) -> None:
    """Draw the training loss, the validation loss, and the marks that it is held against."""
    steps = drawing.thin(history.curve)
    evals = drawing.thin([one for one in history.evals if "loss" in one.metrics])
    marks = history.start.references.get("loss", {}) if history.start else {}
    if not steps and not evals:
        return drawing.empty(axes, "no step was logged")
    if steps:
        marker = "o" if len(steps) == 1 else None
        axes.plot(*_points(steps, "loss"), color=drawing.MAIN, label="training", marker=marker)
    if evals:
        at, losses = [one.step for one in evals], [one.metrics["loss"] for one in evals]
        dots = "o" if len(evals) <= 60 else None
        axes.plot(at, losses, color=drawing.SECOND, marker=dots, markersize=5, linestyle="dashed", label="validation")
    _draw_marks(axes, marks, "{:.2f}".format)
    axes.set_title("Loss")
    unit = history.start.loss_unit if history.start else ""
    axes.set_ylabel(f"loss ({unit})" if unit else "loss")
    _over_steps(axes)
    drawing.legend(axes, loc="upper right")
    return None


def draw_objective(axes: Axes, history: History) -> None:
    """Draw the metric that checkpoints are chosen by, its best value, and the marks that it is held against."""
    key, mode = history.objective
    evals = drawing.thin([one for one in history.evals if math.isfinite(one.metrics.get(key, math.nan))])
    if not evals:
        return drawing.empty(axes, "nothing was evaluated")
    [(name, _)] = metric_names({key: 0.0})
    at, values = [one.step for one in evals], [one.metrics[key] for one in evals]
    dots = "o" if len(evals) <= 60 else None
    axes.plot(at, values, color=drawing.SECOND, marker=dots, markersize=5, label="validation")
    best = (max if mode == "max" else min)(evals, key=lambda one: one.metrics[key])
    axes.plot([best.step], [best.metrics[key]], color=drawing.THIRD, marker="D", linestyle="none",
              label=f"best {fmt.metric(best.metrics[key])} at step {best.step:,}")  # fmt: skip
    _draw_marks(axes, history.start.references.get(key, {}) if history.start else {}, fmt.metric)
    axes.set_title(f"Validation: {name}")
    axes.set_ylabel(name)
    _over_steps(axes)
    drawing.legend(axes, loc="best")
    return None


def _draw_marks(axes: Axes, marks: Mapping[str, float], shown: Callable[[float], str]) -> None:
    styles = cycle(("dotted", "dashdot", (0, (1, 4)), (0, (6, 3))))
    for (what, mark), style in zip(marks.items(), styles, strict=False):
        axes.axhline(mark, color=drawing.MUTED, linestyle=style, label=f"{drawing.label(what)} {shown(mark)}")


def draw_throughput(axes: Axes, history: History) -> None:
    """Draw the tokens (or samples, where there are no tokens) of all workers a second, and the run's figure."""
    steps = drawing.thin(history.curve)
    if not steps:
        return drawing.empty(axes, "no step was logged")
    tokens = history.unit == "tokens" and any(step.tokens_per_second for step in steps)
    name, unit = ("tokens_per_second", "tokens/s") if tokens else ("samples_per_second", "samples/s")
    axes.plot(*_points(steps, name), color=drawing.MAIN, label="each window", marker="o" if len(steps) == 1 else None)
    if history.end and (overall := getattr(history.end, name)):
        axes.axhline(overall, color=drawing.MUTED, linestyle="dashed", label=f"median {overall:,.0f}")
    from matplotlib.ticker import FuncFormatter

    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(FuncFormatter(drawing.counted))
    axes.set_title("Throughput, all workers")
    axes.set_ylabel(unit)
    _over_steps(axes)
    drawing.legend(axes, loc="lower right")
    return None


def draw_learning_rate(axes: Axes, history: History) -> None:
    """Draw the learning rate of each logged step."""
    steps = drawing.thin(history.curve)
    if not steps:
        return drawing.empty(axes, "no step was logged")
    from matplotlib.ticker import FuncFormatter

    axes.plot(*_points(steps, "lr"), color=drawing.THIRD, marker="o" if len(steps) == 1 else None)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_title("Learning rate")
    axes.set_ylabel("learning rate")
    _over_steps(axes)
    return None


def draw_parts(axes: Axes, history: History) -> None:
    """Draw the parts of the step over the run as areas that add up to the step; of a short run as one bar."""
    steps = [step for step in drawing.thin(history.curve, 300) if math.isfinite(step.seconds.get("step", math.nan))]
    axes.set_title("Where a step's time goes")
    if not steps:
        return drawing.empty(axes, "no step was timed")
    if len(steps) < 3:
        unit = drawing.stack(axes, [("", dict(steps[-1].seconds))], across=True)
        axes.set_xlabel(f"time of a step ({unit}), mean over workers")
    else:
        longest = max(step.seconds["step"] for step in steps)
        factor, unit = (1.0, "s") if longest >= 10 else (1e3, "ms")
        rows = [[factor * max(0.0, step.seconds.get(phase, 0.0)) for step in steps] for phase in PHASES]
        colours = [PHASE_COLOURS[phase] for phase in PHASES]
        axes.stackplot([step.step for step in steps], rows, labels=PHASES, colors=colours, linewidth=0)
        axes.set_ylabel(f"time of a step ({unit})")
        axes.set_ylim(bottom=0)
        axes.margins(x=0)
        _over_steps(axes)
    # Beside the axes and from the top as the areas lie: nothing is hidden, nothing has to be looked up.
    handles, names = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], names[::-1], loc="center left", bbox_to_anchor=(1.0, 0.5))
    return None


def _points(steps: Sequence[StepRecord], name: str) -> tuple[list[int], list[float]]:
    values = [float(getattr(step, name)) for step in steps]
    return [step.step for step in steps], [value if math.isfinite(value) else math.nan for value in values]


def _over_steps(axes: Axes) -> None:
    axes.set_xlabel("step")
    axes.set_xlim(left=0)
    drawing.count_on(axes.xaxis)
