"""A process that outlives its launcher, to end the job should the launcher die without having done so.

It waits for its stdin to close, which happens whenever the launcher ends, of SIGKILL too, and goes without a deed where
`dismiss` has told it that all is well. Asking the kernel for a signal at the parent's death would not do: under MPI
horovodrun becomes a shell, and mpirun survives it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict

from hvdtrain.launch.processes import MARK, Job, wind_down

GRACE = 15.0
"""Seconds for a checkpoint when the launcher has died."""
_DONE = b"done"


def start(job: Job) -> subprocess.Popen[bytes]:
    """Start a guard; closing the stdin of what is returned, or dying, sets it to work."""
    environment = {name: value for name, value in os.environ.items() if name != MARK}
    return subprocess.Popen(
        [sys.executable, "-m", __name__, json.dumps(asdict(job))],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
        start_new_session=True,
    )


def dismiss(guard: subprocess.Popen[bytes]) -> None:
    """Let the guard go: the job has ended, and nothing of it is left."""
    with contextlib.suppress(BrokenPipeError):
        guard.communicate(_DONE)


def main(text: str) -> None:
    """Wait for the launcher's end, then see to the job's."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    values = json.loads(text)
    job = Job(**values | {"remote": tuple(values["remote"])})
    if sys.stdin.buffer.read() != _DONE:
        wind_down(job, GRACE)


if __name__ == "__main__":
    main(sys.argv[1])
