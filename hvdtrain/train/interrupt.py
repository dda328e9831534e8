"""SIGINT and SIGTERM ask a run to stop at the end of its step."""

from __future__ import annotations

import signal
from types import FrameType


class Interrupt:
    """A flag that the first SIGINT or SIGTERM raises; the second SIGINT interrupts at once.

    Used as a context: the handlers that were there before come back at its end.
    """

    def __init__(self) -> None:
        self.requested = False
        self._previous: dict[int, object] = {}

    def __enter__(self) -> Interrupt:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = True
