"""The tracebacks of workers, each in one piece and each once: they all write at the same time, mostly the same."""

from __future__ import annotations

import re

from hvdtrain.report.events import Line

_BEGIN = "Traceback (most recent call last)"
_END = re.compile(r"[\w.]+(:|$)")


class Tracebacks:
    """Holds back the lines of a traceback until its last one, the exception, is there."""

    def __init__(self) -> None:
        self._open: dict[int | None, list[str]] = {}
        self._shown: dict[str, int | None] = {}

    def add(self, line: Line) -> list[str]:
        """Take in a line of a worker; return the lines that are to be shown now as that worker's."""
        held = self._open.get(line.rank)
        if held is None and not line.text.startswith(_BEGIN):
            return [line.text]
        if held is None:
            held = self._open[line.rank] = []
        held.append(line.text)
        if line.text[:1].isspace() or not _END.match(line.text) or line.text.startswith(_BEGIN):
            return []
        return self._close(line.rank)

    def close(self) -> list[tuple[int | None, list[str]]]:
        """Return what was never completed, by worker."""
        return [(rank, self._close(rank)) for rank in list(self._open)]

    def _close(self, rank: int | None) -> list[str]:
        lines = self._open.pop(rank)
        other = self._shown.setdefault("\n".join(lines), rank)
        return lines if other == rank else [f"{lines[-1]} (as worker {other})"]
