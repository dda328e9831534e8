"""SIGINT and SIGTERM ask a run to stop at the end of its step. No torch here: it comes before torch loads."""

from __future__ import annotations

import os
import signal
from types import FrameType


class Interrupt:
    """A flag that the first SIGINT or SIGTERM raises; the second SIGINT interrupts at once.

    Used as a context: the handlers that were there before come back at its end. Until `begin()` there is nothing to
    save, and a signal ends the process: as an exception it could be lost in whatever is being imported.
    """

    def __init__(self) -> None:
        self.requested = False
        self._begun = False
        self._previous: dict[int, object] = {}

    def __enter__(self) -> Interrupt:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def begin(self) -> None:
        """From now on a signal is a request."""
        self._begun = True

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if not self._begun:
            os._exit(128 + number)
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = True
