"""The processes of one job on all its hosts: found by a mark in their environment, asked to stop, ended.

horovodrun's own way to end workers leaves no time for a checkpoint. On SIGTERM or SIGINT, under Gloo, it signals the
children of each worker's shell and kills them 5 seconds later, and where the shell becomes the worker (as bash does)
it freezes it first; mpirun waits a second or two. So the workers themselves are signalled, on other hosts over the ssh
that horovodrun uses too, while horovodrun is left alone and ends as after any run.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import psutil

from hvdtrain.errors import RunError
from hvdtrain.launch import hosts, ssh

MARK = "HVDTRAIN_LAUNCH_ID"
_NOT_HERE = 3
"""What the asking of another host ends with where the process that is to be ended is not there: no other program of the
way there ends with it."""
_RANKS = ("HOROVOD_RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK")


@dataclass(frozen=True)
class Job:
    """A job as its processes are found: its mark, and the other hosts that it may run on, which in an elastic job a
    program prints, now these and then others."""

    mark: str
    remote: tuple[str, ...] = ()
    ssh_port: int | None = None
    ssh_identity_file: str | None = None
    discovery_script: str | None = None

    @property
    def elsewhere(self) -> tuple[str, ...]:
        """The other hosts that there are now, and those that there were at the start."""
        found = hosts.remote(hosts.discover(self.discovery_script)) if self.discovery_script else ()
        return tuple(dict.fromkeys((*self.remote, *found)))

    def here(self) -> Job:
        """The part of the job on this machine."""
        return replace(self, remote=(), discovery_script=None)


@dataclass(frozen=True)
class Found:
    """A process of a job; `worker` where it is one itself, not its child or what started it; `orphan` where its parent
    is no process of the job on this machine, as that of a child which its worker left behind."""

    process: psutil.Process
    worker: bool
    orphan: bool


def find(job: Job) -> list[Found]:
    """Return the job's processes on this machine, without this one."""
    marked: dict[int, tuple[psutil.Process, bool]] = {}
    for process in psutil.process_iter():
        environment = _environment(process)
        if environment.get(MARK) == job.mark and process.pid != psutil.Process().pid:
            marked[process.pid] = (process, any(name in environment for name in _RANKS))
    found = []
    for process, ranked in marked.values():
        with contextlib.suppress(psutil.Error):
            parent = marked.get(process.ppid())
            found.append(Found(process, ranked and not (parent and parent[1]), parent is None))
    return found


def ask_to_stop(job: Job) -> int:
    """Send SIGTERM to every worker, which then ends its step and saves; return how many there were on this machine."""
    workers = [found.process for found in find(job) if found.worker]
    for process in workers:
        _send(process, signal.SIGTERM)
    _elsewhere(job, "stop")
    return len(workers)


def end(job: Job, patience: float = 3.0) -> None:
    """End every process of the job, its workers at once; return when none is left on this machine."""
    processes = find(job)
    for found in processes:
        _send(found.process, signal.SIGKILL if found.worker else signal.SIGTERM)
    _wait([found.process for found in processes if not _is_tracker(found.process)], patience)
    for found in find(job):
        # Python's resource tracker ends by itself, after it has removed the semaphores that killed processes left.
        if not _is_tracker(found.process):
            _send(found.process, signal.SIGKILL)
    _wait([found.process for found in find(job)], patience)
    _elsewhere(job, "end")


def kill(job: Job, pid: int, host: str) -> bool:
    """End one process of the job, on whichever host of this name it is; return whether it was there.

    Raises:
        RunError: it was on none of the hosts that could be asked, and some could not.
    """
    if host != socket.gethostname():
        codes = _elsewhere(job, "kill", str(pid), host)
        unasked = [name for name, code in codes.items() if code not in (0, _NOT_HERE)]
        if unasked and 0 not in codes.values():
            raise RunError(f"{', '.join(unasked)} could not be asked over ssh")
        return 0 in codes.values()
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        if _environment(process).get(MARK) == job.mark:
            process.kill()
            return True
    return False


def wind_down(job: Job, grace: float) -> None:
    """Ask the workers to stop and end what is left after some seconds; with no process left it returns at once."""
    if find(job) or job.elsewhere:
        ask_to_stop(job)
        deadline = time.monotonic() + grace
        while find(job) and time.monotonic() < deadline:
            time.sleep(0.1)
    end(job)


def _environment(process: psutil.Process) -> Mapping[str, str]:
    try:
        return process.environ()
    except (psutil.Error, OSError):
        return {}  # Gone, or another user's.


def _send(process: psutil.Process, number: signal.Signals) -> None:
    with contextlib.suppress(psutil.Error):
        process.send_signal(number)


def _wait(processes: Sequence[psutil.Process], patience: float) -> None:
    """Wait until none runs. psutil's own wait takes a child's exit code, and who started the child then reads 0."""
    deadline = time.monotonic() + patience
    while any(_runs(process) for process in processes) and time.monotonic() < deadline:
        time.sleep(0.02)


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _is_tracker(process: psutil.Process) -> bool:
    try:
        return any("resource_tracker" in argument for argument in process.cmdline())
    except psutil.Error:
        return False


def _elsewhere(job: Job, *action: str) -> dict[str, int]:
    """Do the same on the other hosts, all at once; return the exit code for each: some can't be reached."""
    found = job.elsewhere
    if not found:
        return {}
    with ThreadPoolExecutor(max_workers=32) as pool:
        codes = pool.map(lambda host: _over_ssh(remote_command(job, host, *action)), found)
        return dict(zip(found, codes, strict=True))


def remote_command(job: Job, host: str, *action: str) -> list[str]:
    """Return the ssh command that does an action, with its arguments, to the job's processes of another host."""
    there = ssh.python("hvdtrain.launch.processes", [job.mark, *action])
    return ssh.command(host, there, job.ssh_port, job.ssh_identity_file)


def _over_ssh(command: Sequence[str]) -> int:
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        finished = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=False)
        return finished.returncode
    return ssh.FAILED


def main(mark: str, action: str, *arguments: str) -> int:
    """Do to a job's processes on this machine what `remote_command` asked for elsewhere; return the exit code."""
    job = Job(mark)
    if action == "kill":
        pid, host = arguments
        return 0 if kill(job, int(pid), host) else _NOT_HERE
    if action == "stop":
        ask_to_stop(job)
    elif action == "end":
        end(job)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
