"""Where a series of trials is: a table that is redrawn on a terminal, lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING, TextIO

from hvdtrain.report import format as fmt
from hvdtrain.scaling.sweep.analysis import step_seconds, throughput, unsynchronised_seconds

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

    from hvdtrain.scaling.sweep.plan import Size
    from hvdtrain.scaling.sweep.store import Trial


class Progress:
    """A `scaling.sweep.Watcher`. Used as a context, it holds the terminal while the sweep goes on."""

    def __init__(self, sizes: Sequence[Size], repeats: int, trials: Sequence[Trial], *, stream: TextIO, live: bool):
        self._sizes, self._repeats = sizes, repeats
        self._trials = [trial for trial in trials if trial.error is None]
        self._now: tuple[Size, int] | None = None
        self._took: list[float] = []
        self._began = self._since = time.monotonic()
        self._stream = stream
        self._live = self._make_live() if live else None

    def __enter__(self) -> Progress:
        if self._live:
            self._live.start()
        elif left := self._total() - len(self._done()):
            self._write(f"{left} launches, one after the other; the time left shows after the first")
        return self

    def __exit__(self, *exception: object) -> None:
        if self._live:
            self._now = None
            self._live.stop()

    def begin(self, size: Size, repeat: int) -> None:
        self._now, self._since = (size, repeat), time.monotonic()

    def done(self, trial: Trial, size: Size) -> None:
        self._trials.append(trial)
        self._now = None
        self._took.append(time.monotonic() - self._since)
        if self._live is None:
            self._write(self._line(trial, size))

    def _make_live(self) -> Live:
        from rich.console import Console
        from rich.live import Live

        return Live(get_renderable=self.render, console=Console(file=self._stream), refresh_per_second=4)

    def _line(self, trial: Trial, size: Size) -> str:
        done = f"[{len(self._done())}/{self._total()}]"
        if trial.error is not None:
            return f"{done} {size}: FAILED, its other repeats are left out: {trial.error.splitlines()[0]}"
        rate = fmt.rate(throughput(trial.records)[1])
        step = fmt.seconds(step_seconds(trial.records))
        left = f", {fmt.duration(self._left())} left" if self._left() else ""
        return f"{done} {size}, launch {trial.repeat + 1}: {rate} {trial.records[0].unit}/s, step {step}{left}"

    def render(self) -> RenderableType:
        """Return the table as it is now."""
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        for name, side in (("workers", "left"), ("launches", "left"), (self._unit(), "right"), ("step", "right"),
                           ("without sync.", "right")):  # fmt: skip
            table.add_column(name, justify=side, no_wrap=True)  # type: ignore[arg-type]
        for size in self._sizes:
            table.add_row(*self._row(size))
        spent, left = fmt.duration(time.monotonic() - self._began), self._left()
        ends = f", about {fmt.duration(left)} left" if left else ""
        now = f"now: {self._now[0]}, launch {self._now[1] + 1}; " if self._now else ""
        return Group(table, Text(f"{now}{len(self._done())} of {self._total()} launches, {spent} gone{ends}", "dim"))

    def _row(self, size: Size) -> list[str]:
        own = [trial for trial in self._trials if trial.key == size.key]
        good = [trial.records for trial in own if trial.error is None]
        marks = "".join("x" if trial.error else "●" for trial in own)
        if self._now and self._now[0].key == size.key:
            marks += "◐"
        name = f"{size}{' *' if size.oversubscribed else ''}"
        if not good:
            return [name, marks.ljust(self._repeats, "·"), "", "", ""]
        rate = fmt.rate(median(throughput(one)[1] for one in good))
        alone = fmt.seconds(median(unsynchronised_seconds(one) for one in good)) if size.workers > 1 else ""
        step = fmt.seconds(median(step_seconds(one) for one in good))
        return [name, marks.ljust(self._repeats, "·"), rate, step, alone]

    def _unit(self) -> str:
        return next((f"{trial.records[0].unit}/s" for trial in self._done()), "rate")

    def _done(self) -> list[Trial]:
        return [trial for trial in self._trials if trial.error is None]

    def _total(self) -> int:
        failed = {trial.key for trial in self._trials if trial.error is not None}
        return sum(self._repeats for size in self._sizes if size.key not in failed) + sum(
            1 for trial in self._done() if trial.key in failed
        )

    def _left(self) -> float | None:
        """Return the seconds that the launches to come take at the pace of those of this call."""
        if not self._took:
            return None
        return max(0.0, (self._total() - len(self._done())) * sum(self._took) / len(self._took))

    def _write(self, line: str) -> None:
        self._stream.write(line + "\n")
        self._stream.flush()
