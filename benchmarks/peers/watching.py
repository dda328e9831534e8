"""Runs a command and watches, from outside, how much memory each of its workers takes at most."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import psutil

_RANKS = ("HOROVOD_RANK", "OMPI_COMM_WORLD_RANK", "RANK")
_SECONDS_BETWEEN = 0.25
_LONGEST = 900


def run(command: list[str], variables: dict[str, str], finished: Callable[[], bool]) -> tuple[str, list[int]]:
    """Run it to its end; return what it printed, and the peak resident memory of each worker in bytes, by rank.

    A worker is a process whose environment tells its rank. Its peak is Linux's own high-water mark (VmHWM), read until
    `finished` says that training is over: what a trainer does then, such as a checkpoint, is not counted.

    Raises:
        RuntimeError: the command failed; with what it printed.
    """
    process = subprocess.Popen(
        command, env=variables, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    peaks: dict[int, int] = {}
    watching = threading.Thread(target=_watch, args=(process, finished, peaks), daemon=True)
    watching.start()
    try:
        output, _ = process.communicate(timeout=_LONGEST)
    except BaseException:
        process.terminate()  # the launchers end their workers
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(30)
        process.kill()
        raise
    watching.join()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit code {process.returncode}\n{output[-4000:]}")
    return output, [peaks[rank] for rank in sorted(peaks)]


def _watch(process: subprocess.Popen[str], finished: Callable[[], bool], peaks: dict[int, int]) -> None:
    ended = threading.Event()
    while process.poll() is None:
        seen = _peaks(process.pid)
        if finished():
            return
        for rank, peak in seen.items():
            peaks[rank] = max(peak, peaks.get(rank, 0))
        ended.wait(_SECONDS_BETWEEN)


def _peaks(pid: int) -> dict[int, int]:
    """Return the high-water mark of each worker below a process, by rank."""
    found: dict[int, int] = {}
    with contextlib.suppress(psutil.NoSuchProcess):
        for one in psutil.Process(pid).children(recursive=True):
            with contextlib.suppress(psutil.Error, OSError):
                variables = one.environ()
                rank = next((int(variables[name]) for name in _RANKS if variables.get(name)), None)
                if rank is not None:
                    found[rank] = max(found.get(rank, 0), high_water_mark(one.pid))
    return found


def high_water_mark(pid: int | None = None) -> int:
    """Return the peak resident memory of a process in bytes (Linux), by default this one's."""
    status = Path(f"/proc/{pid or os.getpid()}/status").read_text(encoding="ascii")
    found = re.search(r"VmHWM:\s*(\d+) kB", status)
    return 1024 * int(found[1]) if found else 0
