"""What code does that was given hostile input: files written elsewhere, programs started, connections, unpickling."""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

_PROGRAMS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty", "pty.spawn")
_WRITES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.symlink", "os.link", "os.truncate", "os.chmod")


class TooLong(BaseException):
    """An input took longer than it may. Not an Exception: code that catches those must not catch this."""


class Watch:
    """An audit hook (PEP 578), which can't be taken off again: it notes while `on`.

    Attributes:
        deeds: what was done that hostile input must not be able to bring about.
    """

    def __init__(self, inside: Path) -> None:
        self.on = False
        self.deeds: list[str] = []
        self._inside = str(inside)
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event == "ctypes.dlopen" and arguments[0] is None:
            return  # this process's own symbols
        if event in (*_PROGRAMS, "pickle.find_class", "socket.connect", "ctypes.dlopen"):
            self.deeds.append(f"{event} {arguments[:2]!r}"[:200])
        elif event == "open" and self._writes(arguments):
            self._outside(event, arguments[0])
        elif event in _WRITES:
            for path in arguments[: 2 if event == "os.rename" else 1]:
                self._outside(event, path)

    @staticmethod
    def _writes(arguments: tuple[Any, ...]) -> bool:
        _, mode, flags = arguments
        how = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        return bool(how) or (isinstance(mode, str) and any(letter in mode for letter in "wax+"))

    def _outside(self, event: str, path: Any) -> None:
        if isinstance(path, (str, bytes, os.PathLike)):
            real = os.path.realpath(os.fsdecode(path))
            if not real.startswith((self._inside, "/dev/null")) and "__pycache__" not in real:
                self.deeds.append(f"{event} {real}"[:200])

    @contextmanager
    def ing(self) -> Iterator[None]:
        """Note what is done from here to the end of the context."""
        self.deeds, self.on = [], True
        try:
            yield
        finally:
            self.on = False


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raise TooLong in this thread where the context takes longer."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise TooLong

    before: Any = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def limit_memory(more: int) -> None:
    """Let this process take so many bytes of address space beyond what it has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + more
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def outcome(work: Callable[[], object], expected: type[BaseException], seconds: float) -> str:
    """Do something; return "fine", "refused" where it raised what it may, or else what it raised."""
    try:
        with at_most(seconds):
            work()
    except expected:
        return "refused"
    except TooLong:
        return f"longer than {seconds:g} s"
    except BaseException as error:
        frame = error.__traceback__
        while frame is not None and frame.tb_next is not None:
            frame = frame.tb_next
        where = f"{frame.tb_frame.f_code.co_filename.rpartition('/')[2]}:{frame.tb_lineno}" if frame else ""
        return f"{type(error).__name__} at {where}: {str(error)[:150]}"
    return "fine"
