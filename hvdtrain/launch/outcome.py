"""Why a job failed, from what its workers, horovodrun and mpirun said: the cause once, without their noise."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Collection

from hvdtrain.errors import HvdtrainError, RunError, UserError
from hvdtrain.report.events import Beat, Line, WorkerError

_GLOO_EXIT = re.compile(r"Process (\d+) exit with status code (\d+)\.")
_MPI_EXIT = re.compile(r"Process name: \[\[\d+,\d+\],(\d+)\]\s+Exit code: +(\d+)")
_MPI_SIGNAL = re.compile(r"process rank (\d+) .*?exited on signal (\d+)")
_NOISE = re.compile(
    r"Process \d+ exit with status|Terminating remaining workers|Primary job +terminated|mpirun (detected|noticed)"
    r"|mpirun has exited due to|^Terminated$"
)
_RULE = re.compile(r"-{20,}")
_TRACEBACK = re.compile(r"Traceback \(most recent call last\)|Exception in thread ")
_EXCEPTION = re.compile(r"[\w.]*(Error|Exception|Interrupt|Exit|Warning)\b")
_CONTINUED = re.compile(r"\s|During handling|The above exception|to do so was|Process name|Exit code")
_CONSEQUENCES = ("LostWorkerError", "WaitError")
"""Kinds of errors that another worker is the cause of."""
_SILENT = 5.0
"""Seconds without a sign of life, of which a worker gives one each second, that are worth telling."""


class Outcome:
    """Takes in the lines that belong to no worker and the errors of workers; tells in the end what went wrong."""

    def __init__(self) -> None:
        self._errors: list[WorkerError] = []
        self._exits: list[tuple[int, int]] = []
        self._exceptions: list[str] = []
        self._tracebacks: dict[str, bool] = {}
        self._blocks: dict[str, list[str]] = {}
        self._beats: dict[int, tuple[Beat, float]] = {}
        self._failed_at: float | None = None
        self._ended = False

    def end(self) -> None:
        """Take note that the launcher ends the job: how its workers exit from now on is no cause of anything."""
        self._ended = True

    def add_error(self, error: WorkerError) -> None:
        """Take in a deliberate error of a worker."""
        self._errors.append(error)
        self._failed_at = self._failed_at or time.monotonic()

    def add_beat(self, beat: Beat) -> None:
        """Take in a worker's sign of life; what its process had for a rank before a change of workers goes."""
        others = {rank: one for rank, one in self._beats.items() if (one[0].host, one[0].pid) != (beat.host, beat.pid)}
        self._beats = others | {beat.rank: (beat, time.monotonic())}

    def begin_anew(self) -> list[WorkerError]:
        """Forget what ended workers of an elastic job before it went on, and those of them that are no more; return
        what they said of it, without those that lost others.
        """
        now, told = time.monotonic(), [error for error in self._errors if error.kind not in _CONSEQUENCES]
        self._errors, self._exits, self._exceptions, self._failed_at = [], [], [], None
        self._beats = {rank: (beat, at) for rank, (beat, at) in self._beats.items() if now - at < _SILENT}
        return told

    def silent(self, seconds: float) -> list[Beat]:
        """Return the last signs of life that are older, each once."""
        now = time.monotonic()
        old = [rank for rank, (_, at) in self._beats.items() if now - at > seconds]
        return [self._beats.pop(rank)[0] for rank in old]

    def add_line(self, line: Line) -> list[str]:
        """Take in a line of horovodrun or mpirun; return the lines to be shown to a person, mostly none."""
        text = line.text.rstrip()
        if (found := _GLOO_EXIT.search(text)) and not self._ended:
            self._exits.append((int(found[1]), int(found[2])))
        if line.stream in self._blocks or _RULE.fullmatch(text):
            return self._add_to_block(line.stream, text)
        if _NOISE.search(text) or self._is_of_traceback(line.stream, text):
            return []
        return [text]

    def _is_of_traceback(self, stream: str, text: str) -> bool:
        """The launcher dies with a traceback whatever the cause; the exception that it ends with is the message."""
        if _TRACEBACK.match(text):
            self._tracebacks[stream] = True
        elif not self._tracebacks.get(stream):
            return False
        elif _EXCEPTION.match(text):
            self._exceptions.append(text)
        elif not _CONTINUED.match(text):
            self._tracebacks[stream] = False
            return False
        return True

    def _add_to_block(self, stream: str, text: str) -> list[str]:
        """Open MPI speaks in blocks between two rules."""
        if stream not in self._blocks:
            self._blocks[stream] = []
            return []
        if not _RULE.fullmatch(text):
            self._blocks[stream].append(text)
            return []
        block = self._blocks.pop(stream)
        joined = " ".join(block)
        for pattern, base in ((_MPI_EXIT, 0), (_MPI_SIGNAL, 128)):
            if (found := pattern.search(joined)) and not self._ended:
                self._exits.append((int(found[1]), base + int(found[2])))
        return [] if _NOISE.search(joined) else block

    def failure(self, returncode: int) -> HvdtrainError | None:
        """Return the error to end with, or None where the job did well.

        A worker that was killed before any other ended is the cause, whatever others then say; else the first worker
        that reports an error has it, unless it merely lost another. Without a word from a worker its exit code is told,
        and without that what horovodrun says.
        """
        first = self._exits[0] if self._exits else None
        causes = [error for error in self._errors if error.kind not in _CONSEQUENCES]
        killed = first and first[1] > 128 and first[0] not in {error.rank for error in self._errors}
        if first and (killed or not self._errors):
            return RunError(_exit_message(*first))
        if self._errors:
            return self._stuck(causes) or _worker_error((causes or self._errors)[0])
        if returncode == 0:
            return None
        said = f": {self._exceptions[-1]}" if self._exceptions else "; see its output above"
        return RunError(f"horovodrun failed with exit code {returncode}{said}")

    def _stuck(self, causes: list[WorkerError]) -> HvdtrainError | None:
        """Return the error for a worker that hung, with what others waited for; None where none did."""
        if causes and causes[0].kind == "HangError":
            return RunError(f"worker {causes[0].rank}: {causes[0].message}{self._waits()}")
        if causes or self._failed_at is None:
            return None
        silent = {rank: self._failed_at - at for rank, (_, at) in self._beats.items() if self._failed_at - at > _SILENT}
        if not silent:
            return None
        told = [
            f"worker {rank} gave no sign of life for {seconds:.0f} s, last after step {beat.step}, "
            + (f"waiting for {beat.what}" if beat.waits else f"in {beat.what}")
            for rank, seconds in silent.items()
            for beat in (self._beats[rank][0],)
        ]
        return RunError(f"{'; '.join(told)}{self._waits(without=silent)}")

    def _waits(self, without: Collection[int] = ()) -> str:
        """Say which workers waited for which tensor."""
        by_tensor: dict[str, list[str]] = {}
        for rank, (beat, _) in sorted(self._beats.items()):
            if beat.waits and rank not in without:
                by_tensor.setdefault(beat.what, []).append(str(rank))
        return "".join(f"; worker {', '.join(ranks)} waited for {tensor}" for tensor, ranks in by_tensor.items())


def _worker_error(error: WorkerError) -> HvdtrainError:
    where = f"worker {error.rank}: " if error.rank else ""
    kind = UserError if error.exit_code == UserError.exit_code else RunError
    made = kind(where + error.message)
    made.exit_code = error.exit_code
    return made


def _exit_message(rank: int, code: int) -> str:
    if code - 128 not in set(signal.Signals):
        return f"worker {rank} ended with exit code {code}; see its output above"
    number = code - 128
    name = signal.Signals(number).name
    hint = "; was its host out of memory?" if number == signal.SIGKILL else ""
    return f"worker {rank} was ended by {name}{hint}"
