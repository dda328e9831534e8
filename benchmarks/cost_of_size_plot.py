"""The plot of `cost_of_size.py`: step, floor and sync tax against the model's size, a line a number of workers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hvdtrain.report import drawing
from hvdtrain.report import format as fmt

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Return the plot as a PNG."""
    panels = [
        drawing.Panel("step and floor against the model's size", lambda axes: _times(axes, rows)),
        drawing.Panel("sync tax against the model's size", lambda axes: _taxes(axes, rows)),
    ]
    return drawing.png(drawing.figure(panels, columns=2))


def _times(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    for number, of in enumerate(_lines(rows)):
        colour = drawing.SERIES[number % len(drawing.SERIES)]
        sizes = [_millions(row) for row in of]
        steps, floors = ([row[name]["median"] for row in of] for name in ("step", "floor"))
        axes.plot(sizes, steps, color=colour, marker="o", label=f"{_workers(of)}: step")
        axes.plot(sizes, floors, color=colour, linestyle="dashed", label=f"{_workers(of)}: floor")
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: fmt.seconds(value)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_title("Step time, and the floor without synchronising")
    _over_sizes(axes, rows)


def _taxes(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    for number, of in enumerate(_lines(rows)):
        values = [row["sync_tax"] for row in of]
        axes.errorbar(
            [_millions(row) for row in of],
            [100 * value["median"] for value in values],
            yerr=[
                [100 * (value["median"] - value["range"][0]) for value in values],
                [100 * (value["range"][1] - value["median"]) for value in values],
            ],
            color=drawing.SERIES[number % len(drawing.SERIES)],
            linestyle=drawing.STROKES[number % len(drawing.STROKES)],
            marker="o",
            capsize=3,
            label=_workers(of),
        )
    axes.axhline(0, color=drawing.MUTED, linewidth=0.8)
    axes.set_title("Sync tax, with its range over rounds")
    axes.set_ylabel("%")
    _over_sizes(axes, rows)


def _over_sizes(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    from matplotlib.ticker import NullLocator

    axes.set_xscale("log")
    sizes = sorted({_millions(row) for row in rows})
    axes.set_xticks(sizes, [f"{size:g} M" for size in sizes])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("parameters")
    drawing.legend(axes)


def _lines(rows: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """Return the rows of each number of workers, the smallest number first."""
    return [[row for row in rows if row["workers"] == n] for n in sorted({row["workers"] for row in rows})]


def _millions(row: Mapping[str, Any]) -> float:
    return float(row["size"].removesuffix("m"))


def _workers(of: Sequence[Mapping[str, Any]]) -> str:
    return f"{of[0]['workers']} workers" + (" (oversubscribed)" if of[0]["oversubscribed"] else "")
