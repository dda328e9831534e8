from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hvdtrain.errors import RunError
from hvdtrain.launch import guard, processes
from hvdtrain.launch.processes import MARK, Job

ROOT = Path(__file__).parents[3]
SLEEP = "import time; time.sleep(60)"


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[bytes]]]:
    found: list[subprocess.Popen[bytes]] = []
    yield found
    for process in found:
        process.kill()
        process.wait()


def mark(name: str) -> str:
    """A job's mark that no other process of this machine has: they are all looked through."""
    return f"{name}-{os.getpid()}"


def wait_for(job: Job, count: int) -> None:
    """Wait for a job's processes, whose environment is this one's until they are what they run."""
    deadline = time.monotonic() + 60
    while len(processes.find(job)) < count:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def start(started: list[subprocess.Popen[bytes]], code: str = SLEEP, **variables: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-c", code], env=os.environ | variables)
    started.append(process)
    return process


def test_only_the_processes_of_the_job_are_found_and_workers_told_from_others(
    started: list[subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    note = tmp_path / "child"
    code = (
        f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {SLEEP!r}])\n"
        f"open({str(note)!r}, 'w').write(str(p.pid)); p.wait()"
    )
    worker = start(started, code, **{MARK: mark("mine"), "HOROVOD_RANK": "0"})
    helper = start(started, **{MARK: mark("mine")})
    start(started, **{MARK: mark("other"), "HOROVOD_RANK": "0"})
    deadline = time.monotonic() + 20
    while not (note.exists() and note.read_text()) and time.monotonic() < deadline:
        time.sleep(0.02)
    child = int(note.read_text())
    found = {one.process.pid: one.worker for one in processes.find(Job(mark("mine")))}
    assert found == {worker.pid: True, helper.pid: False, child: False}
    processes.end(Job(mark("mine")))
    assert processes.find(Job(mark("mine"))) == []
    assert processes.find(Job(mark("other")))
    processes.end(Job(mark("other")))


def test_who_started_a_process_that_is_ended_still_reads_its_exit_code(
    started: list[subprocess.Popen[bytes]],
) -> None:
    launcher = start(started, **{MARK: mark("codes")})
    worker = start(started, **{MARK: mark("codes"), "HOROVOD_RANK": "0"})
    wait_for(Job(mark("codes")), 2)
    processes.end(Job(mark("codes")))
    assert (launcher.wait(), worker.wait()) == (-15, -9)


@pytest.fixture
def ssh_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An ssh that runs the command on this machine, so that a worker "elsewhere" is really signalled, and can't reach
    hosts of names that begin with `far`.
    """
    ssh, log = tmp_path / "ssh", tmp_path / "log"
    ssh.write_text(f"""#!/bin/sh
echo "$@" >> {log}
case "$*" in *" far"*" cd "*) exit 255;; esac
for last; do :; done
exec sh -c "$last"
""")
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return log


def test_a_worker_of_another_host_is_ended_there(
    started: list[subprocess.Popen[bytes]], ssh_log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = start(started, **{MARK: mark("froze"), "HOROVOD_RANK": "1"})
    wait_for(Job(mark("froze")), 1)
    there = socket.gethostname()
    monkeypatch.setattr(socket, "gethostname", lambda: "here")
    assert processes.kill(Job(mark("froze"), ("far1", "node2")), worker.pid, there)
    assert worker.wait(timeout=20) == -9


def test_a_frozen_worker_that_is_gone_is_told_from_one_whose_host_can_not_be_reached(ssh_log: Path) -> None:
    nobody = (2**22 + 1, f"not-{socket.gethostname()}")
    assert not processes.kill(Job(mark("froze"), ("node1", "node2")), *nobody)
    with pytest.raises(RunError, match=r"^far1, far2 could not be asked over ssh$"):
        processes.kill(Job(mark("froze"), ("far1", "node1", "far2")), *nobody)


def test_workers_of_other_hosts_are_reached_over_ssh(started: list[subprocess.Popen[bytes]], ssh_log: Path) -> None:
    worker = start(started, **{MARK: mark("far"), "OMPI_COMM_WORLD_RANK": "1"})
    processes._elsewhere(Job(mark("far"), ("node2",), ssh_port=2222, ssh_identity_file="key"), "stop")
    assert worker.wait(timeout=20) == -15
    log = ssh_log.read_text()
    assert "-p 2222 -i key node2" in log
    assert "BatchMode=yes" in log


def test_a_host_that_can_not_be_reached_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert processes.ask_to_stop(Job("nothing", ("node2",))) == 0


def test_the_guard_goes_without_a_deed_when_dismissed(
    started: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    worker = start(started, **{MARK: mark("kept"), "HOROVOD_RANK": "0"})
    watcher = guard.start(Job(mark("kept")))
    guard.dismiss(watcher)
    assert watcher.returncode == 0
    assert worker.poll() is None


def test_the_guard_ends_the_job_when_its_launcher_is_gone(
    started: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    worker = start(started, **{MARK: mark("gone"), "HOROVOD_RANK": "0"})
    watcher = guard.start(Job(mark("gone")))
    assert watcher.stdin is not None
    watcher.stdin.close()
    assert worker.wait(timeout=20) == -15
    assert watcher.wait(timeout=20) == 0
