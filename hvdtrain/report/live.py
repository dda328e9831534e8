"""The live view of a run on a terminal."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.text import Text

from hvdtrain.metrics.records import EndRecord, Record, StartRecord
from hvdtrain.report import format as fmt
from hvdtrain.report.history import History
from hvdtrain.report.panels import panel
from hvdtrain.report.summary import rich_summary

_SAMPLE_LINES = 6
HINT = "Ctrl-C stops at the end of a step, with a checkpoint"


class LiveReporter:
    """A subscriber that redraws one panel in place; messages scroll above it, a summary takes its place at the end."""

    def __init__(self, console: Console | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console or Console()
        self._view = View(clock)
        self._live = Live(
            self._view,
            console=self._console,
            refresh_per_second=4,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            vertical_overflow="crop",
        )
        self._started = False

    def __call__(self, record: Record) -> None:
        self._view.add(record)
        self._begin()
        if isinstance(record, EndRecord):
            self._stop()
            self._console.print(rich_summary(self._view.history))

    def message(self, text: str, rank: int | None = None) -> None:
        """Print a line that a worker, or the launcher, wrote, above the view."""
        prefix = "" if rank is None else f"worker {rank} | "
        self._console.print(Text(prefix, style="dim").append(Text(fmt.clean(text), style="not dim")), soft_wrap=True)

    def notice(self, text: str) -> None:
        """Show what is going on in the view's last line, until the next notice."""
        self._view.notice = text
        self._begin()

    def close(self) -> None:
        """Give the terminal back; what was last shown stays on it where the run did not reach its end."""
        if self._started and self._view.history.end is None:
            self._live.transient = False
        self._stop()

    def _begin(self) -> None:
        if not self._started:
            self._started = True
            self._live.start(refresh=True)

    def _stop(self) -> None:
        self._view.stopped = True
        if self._live.is_started:
            self._live.stop()


class View:
    """What `Live` redraws: the history so far, at the present time and width."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.history = History()
        self.notice = HINT
        self.stopped = False
        self._clock = clock
        self._last = self._began = clock()

    def add(self, record: Record) -> None:
        """Take in a record."""
        self.history(record)
        if isinstance(record, StartRecord):
            self.notice = HINT
        self._last = self._clock()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        now = self._clock()
        draw = partial(
            panel,
            self.history,
            elapsed=now - self._began,
            since_last=now - self._last,
            notice="" if self.stopped else self.notice,
            width=options.max_width,
        )
        # A view as high as the terminal would scroll and leave its top behind: the sample gets the rest less a line.
        used = len(console.render_lines(draw(sample_lines=0), options))
        yield draw(sample_lines=min(_SAMPLE_LINES, console.size.height - used - 1))
