"""Where archives are kept, and following the tools that bring them.

`downloads/` in the cache holds archives whole and by their own names: those that were fetched, and those that somebody
put there for a machine without a network. What is on its way lies in `downloads/partial/NAME/`, where it is never taken
for whole, and is renamed when the tool is done.

What resumes: an archive that is whole is never fetched again, whatever was interrupted after it. Within a run, apt and
pip (25.1 or newer) take up a download where its connection broke. In the next run both begin anew the one archive that
was on its way: pip knows of no earlier run, and `apt-get download` removes a file of another size.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from hvdtrain.data import cache
from hvdtrain.errors import DataError

Progress = Callable[[str], None]
SECONDS_BETWEEN_LINES = 2.0
RETRIES = 5
"""How often a broken download is taken up within a run."""
MIB = 1 << 20


def downloads() -> Path:
    """Return the folder of archives; it need not exist."""
    return cache.root() / "downloads"


@contextmanager
def alone(name: str) -> Iterator[Path]:
    """Hold the lock of one archive, and give the folder that it grows in."""
    partial = downloads() / "partial" / name
    partial.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(partial.with_name(f"{name}.lock")):  # the folder itself comes and goes with who holds the lock
        partial.mkdir(exist_ok=True)
        yield partial


def empty(folder: Path) -> None:
    """Remove all that is in a folder."""
    shutil.rmtree(folder)
    folder.mkdir()


def keep(path: Path) -> Path:
    """Move a finished archive to its place, remove the folder that it grew in, and return the place."""
    place = downloads() / path.name
    path.replace(place)
    shutil.rmtree(path.parent, ignore_errors=True)
    return place


def follow(
    command: Sequence[str], folder: Path, file: str, on_progress: Progress, cwd: Path | None = None
) -> tuple[int, list[str]]:
    """Run a tool and return its exit code and its lines; tell meanwhile how much of its file is there.

    `file` is a name or a glob below `folder`, where the tool's temporary files are, too.
    """
    environment = os.environ | {"LC_ALL": "C", "TMPDIR": str(folder)}  # messages that are looked for; pip's half files
    try:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
    except FileNotFoundError:
        return 127, [f"{command[0]} is not installed"]
    lines: list[str] = []
    with process:
        reader = threading.Thread(target=_collect, args=(process, lines), daemon=True)
        reader.start()
        try:
            _watch(process, folder, file, on_progress)
        except BaseException:
            process.terminate()
            raise
        reader.join()
    return process.returncode, lines


def _collect(process: subprocess.Popen[str], lines: list[str]) -> None:
    lines += (line.strip() for line in process.stdout or ())


def _watch(process: subprocess.Popen[str], folder: Path, file: str, on_progress: Progress) -> None:
    """Wait for a tool's end; every two seconds say how much of the file is here, where it is more than before."""
    told, due = 0, time.monotonic() + SECONDS_BETWEEN_LINES
    while True:
        try:
            process.wait(0.1)
            return
        except subprocess.TimeoutExpired:
            pass  # still at work
        if time.monotonic() >= due:
            due += SECONDS_BETWEEN_LINES
            here = _bytes(folder, file)
            if here >= told + MIB / 10:
                told = here
                on_progress(f"{file.rstrip('*_')}: {here / MIB:.1f} MiB so far")


def _bytes(folder: Path, file: str) -> int:
    try:
        return sum(path.stat().st_size for path in folder.rglob(file) if path.is_file())
    except OSError:  # something was renamed or removed meanwhile
        return 0


def failed(tool: str, what: str, reason: str, advice: str, file: str) -> DataError:
    """Return the error of a download that did not come, with the way around it."""
    return DataError(
        f"{tool} could not download {what}: {reason}; {advice}, or put {file} into {downloads()}, "
        "and run the command again"
    )
