"""Records and errors as lines on a worker's stdout, and the way back from what horovodrun or mpirun makes of them.

Rank 0 writes `@hvdtrain <json>` lines where the environment has `HVDTRAIN_EVENTS=1`; `@hvdtrain-error <json>` stands
for a deliberate error of any rank, `@hvdtrain-beat <json>` for a sign of its life. All are pure ASCII: Horovod's
forwarder dies of a byte that is not UTF-8.
"""

from __future__ import annotations

import codecs
import json
import os
import re
import socket
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TextIO

from hvdtrain.metrics.activity import Activity
from hvdtrain.metrics.lines import from_dict, to_dict
from hvdtrain.metrics.records import Record

VARIABLE = "HVDTRAIN_EVENTS"
_RECORD, _ERROR, _BEAT = "@hvdtrain ", "@hvdtrain-error ", "@hvdtrain-beat "


def wanted(environment: Mapping[str, str] | None = None) -> bool:
    """Return whether this process was started by a launcher that reads events."""
    return (os.environ if environment is None else environment).get(VARIABLE) == "1"


class EventWriter:
    """A subscriber that writes each record as one line."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout

    def __call__(self, record: Record) -> None:
        _write(self._stream, _RECORD + _json(to_dict(record)))

    def message(self, text: str, rank: int | None = None) -> None:
        """Write a line as it is: the launcher adds whose it was."""
        _write(self._stream, text)

    def close(self) -> None:
        """Nothing is held: each line was flushed."""


def write_error(error: BaseException, rank: int, stream: TextIO | None = None) -> None:
    """Write a deliberate error as an event; any rank may. `kind` lets the launcher tell cause from consequence."""
    values = {
        "exit_code": getattr(error, "exit_code", 1),
        "kind": type(error).__name__,
        "message": str(error),
        "rank": rank,
    }
    _write(stream or sys.stdout, _ERROR + _json(values))


def write_beat(rank: int, step: int, doing: Activity, seconds: float, stream: TextIO | None = None) -> None:
    """Write a sign of life; any rank may."""
    values = {
        "rank": rank,
        "step": step,
        "what": doing.what,
        "waits": doing.waits,
        "seconds": round(seconds, 1),
        "pid": os.getpid(),
        "host": socket.gethostname(),
    }
    _write(stream or sys.stdout, _BEAT + _json(values))


def _json(values: Mapping[str, Any]) -> str:
    # Without "<", text of the model can't look like the prefix of a rank.
    return json.dumps(values, allow_nan=False).replace("<", "\\u003c")


def _write(stream: TextIO, line: str) -> None:
    # One call for the whole line: the lines of several threads must not mix.
    stream.write(line + "\n")
    stream.flush()


@dataclass(frozen=True)
class Line:
    """A line of ordinary output; `rank` is None where horovodrun or mpirun itself wrote it."""

    text: str
    rank: int | None = None
    stream: str = "stdout"


@dataclass(frozen=True)
class WorkerError:
    """A deliberate error of a worker."""

    message: str
    exit_code: int = 1
    rank: int | None = None
    kind: str = ""


@dataclass(frozen=True)
class Beat:
    """A sign of life: after how many updates a worker does what, and for how many seconds already; `waits` says that it
    is a tensor for which it waits. `pid` is its process on `host`."""

    rank: int
    step: int
    what: str
    waits: bool = False
    seconds: float = 0.0
    pid: int = 0
    host: str = ""


Output = Record | WorkerError | Beat | Line
"""One thing that came out of a job."""


class OutputParser:
    """Turns one output stream of horovodrun or mpirun, fed in pieces of any size, into what the workers wrote.

    Horovod prefixes each line with `[rank]<stdout>:`. Open MPI prefixes each *piece* that it forwards with
    `[job,rank]<stdout>:`, so a long line is broken by prefixes and ranks may alternate within one: text belongs to the
    rank of the last prefix, and each rank's line ends at its own line end.
    """

    MAX_LINE = 1 << 20

    def __init__(self, stream: str = "stdout") -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._pending = ""
        self._open: dict[tuple[int | None, str], str] = {}
        self._overwritten: dict[tuple[int | None, str], str] = {}

    def feed(self, data: bytes) -> list[Output]:
        """Return what is complete now."""
        self._pending += self._decoder.decode(data)
        found: list[Output] = []
        *lines, self._pending = _LINE_ENDS.split(self._pending)
        for text, end in zip(lines[::2], lines[1::2], strict=True):
            found += self._physical_line(text, end)
        if len(self._pending) > self.MAX_LINE:
            found += self._physical_line(self._pending, "\n")
            self._pending = ""
        return found

    def close(self) -> list[Output]:
        """Return what was left without a line end when the stream closed."""
        found = self.feed(b"\n") if self._pending else []
        for owner, text in self._open.items():
            found += self._parse(owner, text)
        self._open.clear()
        return found

    def _physical_line(self, line: str, end: str) -> Iterator[Output]:
        own, *pieces = _PREFIX.split(line)
        owner: tuple[int | None, str] = (None, self._stream)
        if own or not pieces:
            # Nothing tells where a line of the launcher itself goes on, so it ends here.
            yield from self._end(owner, own, "\n" if pieces else end)
        for rank, stream, text in zip(pieces[::3], pieces[1::3], pieces[2::3], strict=True):
            owner = (int(rank), stream)
            self._open[owner] = self._open.get(owner, "") + text
        if pieces:
            yield from self._end(owner, self._open.pop(owner), end)

    def _end(self, owner: tuple[int | None, str], text: str, end: str) -> Iterator[Output]:
        """A line that ends in a carriage return is a progress bar about to be overwritten, unless a newline follows."""
        before = self._overwritten.pop(owner, "")
        if end == "\r":
            self._overwritten[owner] = text
        else:
            yield from self._parse(owner, text or before)

    def _parse(self, owner: tuple[int | None, str], text: str) -> Iterator[Output]:
        rank, stream = owner
        try:
            if text.startswith(_RECORD):
                yield from_dict(_object(text[len(_RECORD) :]))
                return
            if text.startswith(_ERROR):
                yield _error(_object(text[len(_ERROR) :]), rank)
                return
            if text.startswith(_BEAT):
                yield _beat(_object(text[len(_BEAT) :]))
                return
        except (ValueError, TypeError):
            pass  # A damaged event is shown as the line that it is rather than lost.
        if text.strip():
            yield Line(text, rank, stream)


_LINE_ENDS = re.compile(r"([\r\n])")
_PREFIX = re.compile(r"\[(?:\d+,)?(\d+)\]<(stdout|stderr|stddiag)>:")


def _object(text: str) -> dict[str, object]:
    values = json.loads(text)
    if not isinstance(values, dict):
        raise ValueError("no JSON object")
    return values


def _beat(values: Mapping[str, object]) -> Beat:
    rank, step, seconds = values.get("rank"), values.get("step"), values.get("seconds")
    if not isinstance(rank, int) or not isinstance(step, int) or not isinstance(seconds, int | float):
        raise ValueError("no sign of life")
    pid = values.get("pid")
    where = (pid if isinstance(pid, int) else 0, str(values.get("host", "")))
    return Beat(rank, step, str(values.get("what", "")), values.get("waits") is True, float(seconds), *where)


def _error(values: Mapping[str, object], rank: int | None) -> WorkerError:
    code, said = values.get("exit_code", 1), values.get("rank", rank)
    return WorkerError(
        message=str(values.get("message", "")),
        exit_code=code if isinstance(code, int) and 0 < code < 256 else 1,
        rank=said if isinstance(said, int) else rank,
        kind=str(values.get("kind", "")),
    )
