"""Drawing with matplotlib, imported only when something is drawn: panels, together as a PNG and each as an SVG.

pyplot is never used: it keeps figures alive and may look for a display. Colours are those of Okabe and Ito, which
people with any colour vision tell apart (https://jfly.uni-koeln.de/color/).
"""

from __future__ import annotations

import io
import logging
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from hvdtrain.report import format as fmt

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PHASE_COLOURS = {
    "data": "#E69F00",
    "forward": "#56B4E9",
    "backward": "#0072B2",
    "communication": "#D55E00",
    "imbalance": "#CC79A7",
    "optimizer": "#009E73",
    "other": "#999999",
}
"""The colour of each part of a step, in every drawing."""

MAIN, SECOND, THIRD, MUTED = "#0072B2", "#D55E00", "#009E73", "#8A8A8A"
SERIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
STROKES = ("solid", "dashed", "dotted", "dashdot")

# Everything that is text or frame has one colour, so that an SVG within a page can take the page's.
_INK = "#1F2328"
_DPI = 110
_SETTINGS: dict[str, Any] = {
    "font.size": 10.0,
    "axes.titlesize": 11.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.formatter.use_mathtext": False,
    "axes.unicode_minus": False,
    "grid.alpha": 0.18,
    "legend.frameon": False,
    "legend.fontsize": 9.0,
    "lines.linewidth": 1.8,
    "svg.fonttype": "none",
    "text.parse_math": False,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "grid.color": _INK,
}

T = TypeVar("T")


@dataclass(frozen=True)
class Panel:
    """One set of axes: `draw` fills it; `name` says in words what it shows. `wide` takes a whole row of a figure."""

    name: str
    draw: Callable[[Axes], None]
    wide: bool = False


@contextmanager
def _quietly() -> Iterator[None]:
    """Matplotlib with our settings whatever the user's are, and without remarks on fonts that lack a letter."""
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    import matplotlib

    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")
        matplotlib.rcdefaults()
        settings: Any = matplotlib.rcParams  # typed by some of its versions, with the names that each knows
        settings.update(_SETTINGS)
        yield


def figure(panels: Sequence[Panel], columns: int = 2, width: float = 11.0, row_height: float = 3.7) -> Figure:
    """Return the panels as one figure of `width` inches: in rows of `columns`, the wide ones in rows of their own."""
    with _quietly():
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine

        places = list(_places(panels, columns))
        rows = 1 + max((row for row, _ in places), default=0)
        made = Figure(
            figsize=(width, row_height * rows), layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1), facecolor="white"
        )
        FigureCanvasAgg(made)
        grid = made.add_gridspec(rows, columns)
        for panel, (row, column) in zip(panels, places, strict=True):
            panel.draw(made.add_subplot(grid[row, :] if panel.wide else grid[row, column]))
        return made


def _places(panels: Sequence[Panel], columns: int) -> Iterator[tuple[int, int]]:
    row, column = 0, 0
    for panel in panels:
        if column and (panel.wide or column == columns):
            row, column = row + 1, 0
        yield row, column
        column = columns if panel.wide else column + 1


def png(made: Figure) -> bytes:
    """Return a figure as a PNG."""
    with _quietly():
        file = io.BytesIO()
        made.savefig(file, format="png", dpi=_DPI, metadata={"Software": None})
        return file.getvalue()


def svg(panel: Panel) -> str:
    """Return a panel as an SVG element to be put into a page, whose colour of text it takes."""
    with _quietly():
        from matplotlib import rcParams

        rcParams["svg.hashsalt"] = panel.name  # its ids: the same in each run, and different from other drawings'
        made = figure([panel], columns=1, width=5.4, row_height=3.4)
        file = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        made.savefig(file, format="svg", transparent=True, metadata=nothing)
    text = file.getvalue()
    text = text[text.index("<svg") :]
    # Its groups are numbered alike in every drawing, and nothing refers to them.
    return re.sub(r'<g id="[^"]*"', "<g", text).replace(_INK.lower(), "currentColor").strip()


def label(text: str, most: int = 40) -> str:
    """Return foreign text for a legend: one line, not too long."""
    line = " ".join(fmt.clean(text).split())
    return line if len(line) <= most else line[: most - 3] + "..."


def thin(points: Sequence[T], most: int = 600) -> Sequence[T]:
    """Return at most so many of the points, evenly, the first and the last among them."""
    if len(points) <= most:
        return points
    return [points[round(index * (len(points) - 1) / (most - 1))] for index in range(most)]


def counted(value: float, _: object = None) -> str:
    """Return a tick's number as people read it: 12,000 as `12k`, 2,500,000 as `2.5M`."""
    return fmt.quantity(value).replace(" ", "") if abs(value) >= 10_000 else f"{value:,.6g}"


def legend(axes: Axes, **options: Any) -> None:
    """Add a legend of what has a label, if anything has."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(**options)


def count_on(axis: Any) -> None:
    """Give an axis whole and short numbers."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis.set_major_locator(MaxNLocator(nbins=8, integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))
    axis.set_major_formatter(FuncFormatter(counted))


def empty(axes: Axes, why: str) -> None:
    """Say in a panel why it shows nothing."""
    axes.set_axis_off()
    axes.text(0.5, 0.5, why, ha="center", va="center", transform=axes.transAxes)


def stack(axes: Axes, bars: Sequence[tuple[str, dict[str, float]]], *, across: bool = False) -> str:
    """Draw a stacked bar of the parts of a step for each (label, seconds); return the unit of the time axis.

    With `across` the bars lie. A part below zero, as `other` may be by rounding, goes the other way.
    """
    from matplotlib.ticker import FuncFormatter

    longest = max((times.get("step", 0.0) for _, times in bars), default=0.0)
    factor, unit = (1.0, "s") if longest >= 10 else (1e3, "ms")
    ends = [[0.0, 0.0] for _ in bars]
    for phase, colour in PHASE_COLOURS.items():
        lengths = [factor * times.get(phase, 0.0) for _, times in bars]
        starts = []
        for end, length in zip(ends, lengths, strict=True):
            side = 0 if length >= 0 else 1
            starts.append(end[side])
            end[side] += length
        places = range(len(bars))
        if across:
            axes.barh(places, lengths, left=starts, height=0.62, color=colour, label=phase)
        else:
            axes.bar(places, lengths, bottom=starts, width=0.62, color=colour, label=phase)
    names = [name for name, _ in bars]
    (axes.xaxis if across else axes.yaxis).set_major_formatter(FuncFormatter(counted))
    if across:
        axes.set_yticks(range(len(bars)), names)
        axes.set_ylim(len(bars) - 0.4, -0.6)
        axes.grid(visible=True, axis="x")
        axes.grid(visible=False, axis="y")
    else:
        axes.set_xticks(range(len(bars)), names)
    return unit
