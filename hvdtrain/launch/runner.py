"""Starts horovodrun and supervises it: output to the view, Ctrl-C to the workers, and no process left at the end."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import FrameType
from typing import IO

from hvdtrain.errors import RunError, SetupError, UserError
from hvdtrain.launch import guard, processes
from hvdtrain.launch.outcome import Outcome
from hvdtrain.launch.processes import MARK, Job
from hvdtrain.launch.tracebacks import Tracebacks
from hvdtrain.metrics.records import CheckpointRecord, EndRecord, Record, StartRecord
from hvdtrain.report import events
from hvdtrain.report.console import View
from hvdtrain.report.events import Beat, Line, OutputParser, WorkerError

STOPPING = "stopping: the workers end their step and save a checkpoint; Ctrl-C again ends them at once"
ENDING = "ending all workers; a resume goes on from the last whole checkpoint"


@dataclass(frozen=True)
class _Asked:
    """A signal to this process."""

    number: int


class _Closed:
    """An output stream of the job has ended."""


@dataclass(frozen=True)
class _Frozen:
    """A worker that gave no sign of life, and what came of ending it."""

    rank: int
    outcome: str


class Runner:
    """One job. `run` returns when it and all its processes have ended."""

    PATIENCE = 5.0
    """Seconds between a look for strays after the last record and the next."""

    def __init__(
        self,
        command: Sequence[str],
        view: View,
        job: Job | None = None,
        *,
        stop_timeout: float = 120.0,
        elastic: bool = False,
        silence: float | None = None,
    ) -> None:
        """Take up what to run; an `elastic` job does well as long as horovodrun says so, whichever workers it lost. A
        worker of one that gives no sign of life for `silence` seconds is ended: others wait for it.
        """
        self._silence = silence
        self.began, self.saved = False, False
        """Whether the job has begun to train, so that what its output directory holds is its own, and whether it has
        saved a checkpoint."""
        self._elastic = elastic
        self._command = list(command)
        self._view = view
        self._job = replace(job or Job(""), mark=uuid.uuid4().hex)
        self._stop_timeout = stop_timeout
        self._outcome = Outcome()
        self._tracebacks = Tracebacks()
        self._queue: queue.SimpleQueue[Record | WorkerError | Beat | Line | _Asked | _Frozen | _Closed] = (
            queue.SimpleQueue()
        )
        self._signal: int | None = None
        self._deadline: float | None = None
        self._ending: threading.Thread | None = None
        self._seen_record = False
        self._end: EndRecord | None = None
        self._ended_at: float | None = None
        self._strays = False

    def run(self) -> int:
        """Run the job to its end.

        Returns:
            0 where it finished; 128 + the number of the signal that stopped it, as shells have it.

        Raises:
            SetupError: horovodrun can't be started.
            UserError, RunError: a worker failed; with its message, its rank and its exit code.
        """
        with self._signals():
            watcher = guard.start(self._job)
            try:
                with self._start() as process:
                    try:
                        self._supervise(process)
                    finally:
                        try:
                            self._show_rest()
                        finally:
                            self._leave_nothing()
            finally:
                guard.dismiss(watcher)
        return self._result(0 if self._strays else process.returncode)

    def _show_rest(self) -> None:
        try:
            for rank, lines in self._tracebacks.close():
                for text in lines:
                    self._view.message(text, rank)
        finally:
            self._view.close()

    def _leave_nothing(self) -> None:
        """End what is left. After a run that reached its end that can only be strays on this machine."""
        job = self._job if self._end is None else self._job.here()
        processes.wind_down(job, guard.GRACE)

    def _result(self, returncode: int) -> int:
        went_well = self._elastic and returncode == 0 and (self._ending is None or self._strays)
        failure = None if went_well else self._outcome.failure(returncode)
        if self._signal is not None and not (failure and failure.exit_code == UserError.exit_code):
            return 0 if self._end and self._end.reason == "finished" else 128 + self._signal
        if failure is not None:
            raise failure
        return 0

    def _start(self) -> subprocess.Popen[bytes]:
        try:
            process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=worker_environment(self._job.mark, os.environ),
                # Its own session: the terminal's Ctrl-C must reach this process alone.
                start_new_session=True,
            )
        except OSError as error:
            raise SetupError(f"can't start {self._command[0]}: {error.strerror}") from error
        for stream, name in ((process.stdout, "stdout"), (process.stderr, "stderr")):
            if stream is not None:
                threading.Thread(target=self._read, args=(stream, name), daemon=True).start()
        return process

    def _read(self, stream: IO[bytes], name: str) -> None:
        parser = OutputParser(name)
        with stream:
            while data := os.read(stream.fileno(), 65536):
                for item in parser.feed(data):
                    self._queue.put(item)
        for item in parser.close():
            self._queue.put(item)
        self._queue.put(_Closed())

    def _supervise(self, process: subprocess.Popen[bytes]) -> None:
        closed, gone_since = 0, None
        while closed < 2:
            try:
                item = self._queue.get(timeout=0.2)
            except queue.Empty:
                item = None
            if isinstance(item, _Closed):
                closed += 1
            elif item is not None:
                self._take(item)
            self._keep_deadline()
            self._end_silent()
            self._notice_strays()
            if process.poll() is not None and item is None:
                # A process that a worker left behind may hold its output open for ever.
                gone_since = gone_since or time.monotonic()
                if time.monotonic() - gone_since > 2:
                    break

    def _take(self, item: Record | WorkerError | Beat | Line | _Asked | _Frozen | _Closed) -> None:
        if isinstance(item, Record):
            self._seen_record = True
            if self._elastic and self._ending is None and isinstance(item, StartRecord):
                for error in self._outcome.begin_anew():
                    self._view.message(f"warning: worker {error.rank}: {error.message}")
            self.began = self.began or isinstance(item, StartRecord)
            self.saved = self.saved or isinstance(item, CheckpointRecord)
            if isinstance(item, EndRecord):
                self._end, self._ended_at = item, time.monotonic()
            self._view(item)
        elif isinstance(item, WorkerError):
            self._outcome.add_error(item)
            if self._elastic and item.kind == "NonFiniteError":
                # The others would go back, come to the same batch, and be lost one after the other.
                self._end_all(ENDING)
        elif isinstance(item, Beat):
            self._outcome.add_beat(item)
        elif isinstance(item, _Asked):
            self._stop(item.number)
        elif isinstance(item, _Frozen):
            what = f"gave no sign of life for {self._silence:g} s (train.hang_timeout), and {item.outcome}"
            self._view.message(f"warning: worker {item.rank} {what}")
        elif isinstance(item, Line) and item.rank is None:
            for text in self._outcome.add_line(item):
                self._view.message(text)
        elif isinstance(item, Line):
            for text in self._tracebacks.add(item):
                self._view.message(text, item.rank)

    def _stop(self, number: int) -> None:
        first, self._signal = self._signal is None, self._signal or number
        if first and self._seen_record:
            self._view.notice(STOPPING)
            self._deadline = time.monotonic() + self._stop_timeout
            threading.Thread(target=processes.ask_to_stop, args=(self._job,), daemon=True).start()
        else:
            # Before the first record there is nothing to save, and the workers may not yet listen.
            self._end_all(ENDING)

    def _keep_deadline(self) -> None:
        if self._deadline is not None and time.monotonic() > self._deadline:
            self._deadline = None
            self._end_all(f"the workers did not stop within {self._stop_timeout:g} s: {ENDING}")

    def _end_silent(self) -> None:
        """Horovod's driver takes a worker that is frozen for one that will come to its senses, and waits."""
        if not self._elastic or self._silence is None:
            return
        for beat in self._outcome.silent(self._silence):
            threading.Thread(target=self._end_frozen, args=(beat,), daemon=True).start()

    def _end_frozen(self, beat: Beat) -> None:
        try:
            if processes.kill(self._job, beat.pid, beat.host):
                self._queue.put(_Frozen(beat.rank, "is ended"))
        except RunError as error:
            self._queue.put(_Frozen(beat.rank, f"{error}; if process {beat.pid} of {beat.host} is there, end it"))

    def _notice_strays(self) -> None:
        """A process that a worker left behind holds its output open, and horovodrun would wait for it for ever."""
        if self._ended_at is None or self._job.remote or time.monotonic() - self._ended_at < self.PATIENCE:
            return
        self._ended_at = time.monotonic()
        if self._ending is None and not any(one.worker and not one.orphan for one in processes.find(self._job)):
            self._strays = True
            self._end_all("ending processes that the workers left behind")

    def _end_all(self, why: str) -> None:
        if self._ending is None:
            self._view.notice(why)
            self._outcome.end()
            self._ending = threading.Thread(target=processes.end, args=(self._job,), daemon=True)
            self._ending.start()

    @contextmanager
    def _signals(self) -> Iterator[None]:
        def ask(number: int, frame: FrameType | None) -> None:
            self._queue.put(_Asked(number))

        before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def worker_environment(mark: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for horovodrun, which hands it on to the workers, on their command lines.

    Nothing is added that others must not see.
    """
    return {**environment, MARK: mark, events.VARIABLE: "1", "PYTHONUNBUFFERED": "1"}
