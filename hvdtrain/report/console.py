"""Which of the views suits where the output goes."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Protocol, TextIO

from hvdtrain.launched import launched_size
from hvdtrain.report import Subscriber, events


class Console(Subscriber, Protocol):
    """A subscriber that also takes lines that are no records."""

    def message(self, text: str, rank: int | None = None) -> None:
        """Show a line; `rank` is the worker that wrote it, None for the process itself."""
        ...


class View(Console, Protocol):
    """A console that a person looks at."""

    def notice(self, text: str) -> None:
        """Show what is going on now."""
        ...


def make_view(
    *, plain: bool = False, stream: TextIO | None = None, environment: Mapping[str, str] | None = None
) -> View:
    """Return the live view on a terminal that can show it, else plain lines."""
    stream = stream or sys.stdout
    if plain or not can_be_live(stream, os.environ if environment is None else environment):
        from hvdtrain.report.plain import PlainReporter

        return PlainReporter(stream)
    from rich.console import Console as RichConsole

    from hvdtrain.report.live import LiveReporter

    return LiveReporter(RichConsole(file=stream))


def make_reporter(
    *, plain: bool = False, stream: TextIO | None = None, environment: Mapping[str, str] | None = None
) -> Console:
    """Return what the reporting worker writes to its stdout: events where a launcher reads them, else a view."""
    if events.wanted(environment):
        return events.EventWriter(stream)
    return make_view(plain=plain, stream=stream, environment=environment)


def can_be_live(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Return whether a view can be redrawn in place: a terminal with a cursor and Unicode, and no CI log.

    A worker's terminal is nobody's: mpirun gives it one, and forwards what it reads there line by line.
    """
    if launched_size() > 1:
        return False
    if not stream.isatty() or environment.get("TERM", "") in ("dumb", "unknown") or environment.get("CI"):
        return False
    return (stream.encoding or "").lower().replace("-", "").startswith("utf")
