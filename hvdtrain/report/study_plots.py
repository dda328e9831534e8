"""The drawings of a scaling study: throughput, efficiency and the parts of a step, against the number of workers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from hvdtrain.metrics.study import Interval, SizeResult, Study
from hvdtrain.report import drawing
from hvdtrain.report.drawing import Panel
from hvdtrain.report.study_document import MODES
from hvdtrain.report.study_tables import throughput

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# From this many times the smallest size on, equal steps on the axis are equal factors.
_LOGARITHMIC_FROM = 16


def study_panels(study: Study) -> list[Panel]:
    """Return three panels for each mode."""
    panels = []
    for mode in MODES:
        if sizes := study.of(mode):
            panels += [
                Panel(
                    f"{mode} scaling: throughput against workers, with the ideal line",
                    partial(draw_throughput, study=study, sizes=sizes),
                ),
                Panel(
                    f"{mode} scaling: efficiency against workers, with its interval",
                    partial(draw_efficiency, sizes=sizes),
                ),
                Panel(f"{mode} scaling: where a step's time goes, for each size", partial(draw_steps, sizes=sizes)),
            ]
    return panels or [Panel("nothing was measured", lambda axes: drawing.empty(axes, "no size was measured"))]


def study_figure(study: Study) -> Figure:
    """Return a figure with a row of three panels for each mode."""
    return drawing.figure(study_panels(study), columns=3, width=15.0, row_height=4.4)


def draw_throughput(axes: Axes, study: Study, sizes: Sequence[SizeResult]) -> None:
    """Draw the throughput of all workers with its spread; beside it n X(1), and one worker with all cores."""
    unit, rates = throughput(sizes)
    counts = [size.workers for size in sizes]
    axes.plot(counts, [rate.median for rate in rates], color=drawing.MAIN, label="measured")
    _points(axes, sizes, rates)
    if counts[0] == 1 and counts[-1] > 1:
        one = rates[0].median
        axes.plot(counts, [one * n for n in counts], color=drawing.MUTED, linestyle="dashed", label="ideal: n X(1)")
    if study.all_cores and study.all_cores.mode == sizes[0].mode:
        _, both = throughput([*sizes, study.all_cores])
        axes.axhline(both[-1].median, color=drawing.THIRD, linestyle="dotted", label="one worker, all cores")
    _over_workers(axes, sizes)
    _rates_from_zero(axes, counts)
    axes.set_title(f"Throughput, {sizes[0].mode} scaling")
    axes.set_ylabel(f"{unit}, all workers")
    drawing.legend(axes, loc="lower right")


def draw_efficiency(axes: Axes, sizes: Sequence[SizeResult]) -> None:
    """Draw the efficiency of each size in percent, with its interval and its figure."""
    known = [size for size in sizes if size.efficiency]
    axes.set_title(f"Efficiency, {sizes[0].mode} scaling")
    if not known:
        return drawing.empty(axes, "no efficiency without the size 1")
    values = [size.efficiency for size in known if size.efficiency]
    counts = [size.workers for size in known]
    axes.axhline(100, color=drawing.MUTED, linestyle="dashed", label="ideal: 100 %")
    axes.plot(counts, [100 * value.median for value in values], color=drawing.MAIN, label="measured")
    _points(axes, known, values, factor=100)
    for size, value in zip(known, values, strict=True):
        # A curve of efficiency falls to the right: there is room above it.
        at = (size.workers, 100 * value.high)
        axes.annotate(f"{100 * value.median:.0f} %", at, xytext=(4, 5), textcoords="offset points")
    _over_workers(axes, known)
    axes.set_ylim(0, max(112.0, *(108 * value.high for value in values)))
    axes.set_ylabel("efficiency (%)")
    drawing.legend(axes, loc="lower left")
    return None


def draw_steps(axes: Axes, sizes: Sequence[SizeResult]) -> None:
    """Draw the mean step of each size as a bar of its parts."""
    bars = [(f"{size.workers}{'*' if size.oversubscribed else ''}", dict(size.split)) for size in sizes]
    unit = drawing.stack(axes, bars)
    marked = any(size.oversubscribed for size in sizes)
    axes.set_title(f"Step, {sizes[0].mode} scaling")
    axes.set_xlabel("workers (* oversubscribed)" if marked else "workers")
    axes.set_ylabel(f"mean time of a step ({unit})")
    handles, names = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], names[::-1], loc="center left", bbox_to_anchor=(1.0, 0.5))


def _points(axes: Axes, sizes: Sequence[SizeResult], values: Sequence[Interval], factor: float = 1.0) -> None:
    """Add a mark with its spread for each size, hollow where it is oversubscribed."""
    for hollow in (False, True):
        chosen = [pair for pair in zip(sizes, values, strict=True) if bool(pair[0].oversubscribed) == hollow]
        if not chosen:
            continue
        medians = [factor * value.median for _, value in chosen]
        axes.errorbar(
            [size.workers for size, _ in chosen],
            medians,
            yerr=[
                [max(0.0, median - factor * value.low) for median, (_, value) in zip(medians, chosen, strict=True)],
                [max(0.0, factor * value.high - median) for median, (_, value) in zip(medians, chosen, strict=True)],
            ],
            fmt="o",
            color=drawing.MAIN,
            markerfacecolor="white" if hollow else drawing.MAIN,
            capsize=4,
            label="oversubscribed" if hollow else None,
        )


def _over_workers(axes: Axes, sizes: Sequence[SizeResult]) -> None:
    """Put a tick at each size that was measured, and at no other number."""
    counts = [size.workers for size in sizes]
    if counts[-1] >= _LOGARITHMIC_FROM * counts[0]:
        axes.set_xscale("log", base=2)
    else:
        axes.set_xlim(0, counts[-1] * 1.12 if counts[-1] > 1 else 2)
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.minorticks_off()
    axes.set_xlabel("workers")


def _rates_from_zero(axes: Axes, counts: Sequence[int]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator

    if counts[-1] >= _LOGARITHMIC_FROM * counts[0]:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0)))
        axes.minorticks_off()
    else:
        axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(FuncFormatter(drawing.counted))
