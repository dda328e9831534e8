"""What makes up the hosts of `namespaces.py`: commands run quietly, processes found and ended, links shaped."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

import psutil

PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}


def in_space(space: Path) -> list[psutil.Process]:
    """Return what runs in a namespace of processes, given as its link in /proc, without sshd."""
    found = []
    for process in psutil.process_iter():
        try:
            here = Path(f"/proc/{process.pid}/ns/pid").readlink() == space
            if here and not process.name().startswith("sshd") and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, OSError):
            continue  # It has ended.
    return found


def command_lines(processes: Iterable[psutil.Process]) -> list[list[str]]:
    """Return the command lines of those that still run."""
    shown = []
    for process in processes:
        with contextlib.suppress(psutil.Error):
            shown.append(process.cmdline())
    return shown


def shape(pid: int, link: str, rate: str | None) -> None:
    """Let what leaves a link pass a token bucket: a millisecond's worth of tokens, at most 50 ms of queue."""
    enter = ["nsenter", "-t", str(pid), "--net", "tc", "qdisc"]
    if rate is None:
        call([*enter, "del", "dev", link, "root"], check=False)
        return
    burst = max(65536, int(bits(rate) / 8 / 1000))
    call([*enter, "replace", "dev", link, "root", "tbf", "rate", rate, "burst", str(burst), "latency", "50ms"])


def bits(rate: str) -> float:
    """Return the bits per second of a rate such as "200mbit".

    Raises:
        ValueError: it is written in another way.
    """
    found = re.fullmatch(r"([\d.]+)([kmg]?)bit", rate)
    if found is None:
        raise ValueError(f"rate {rate}: expected a number with kbit, mbit or gbit, such as 200mbit")
    return float(found[1]) * _UNITS[found[2]]


def kill(pid: int) -> None:
    """End a process at once, if it is still there."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def call(command: Sequence[str], check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a command that takes no time; raises RuntimeError with what it said where it fails and `check` is set."""
    done = subprocess.run(
        command,
        env=os.environ | {"PATH": PATH},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {done.stderr.strip()}")
    return done
