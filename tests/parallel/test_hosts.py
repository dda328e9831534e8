"""Several hosts, really: namespaces with addresses, names, processes and an sshd of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from namespaces import Lab, bits, lab_problem

pytest.importorskip("horovod", reason="Horovod is not installed")
pytestmark = [
    pytest.mark.namespaces,
    pytest.mark.skipif(lab_problem() is not None, reason=f"no hosts can be made: {lab_problem()}"),
]

LAUNCH = [sys.executable, "-m", "hvdtrain", "launch", "--plain", "--gloo"]
ENVIRONMENT = {"OMP_NUM_THREADS": "1"}
ETHERNET = "--network-interfaces=eth0"  # Without it horovodrun searches for some seconds.


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(hosts=3) as made:
        yield made


def test_every_host_is_one_by_itself(lab: Lab) -> None:
    seen = {}
    for name in lab.names:
        code = "import socket, psutil; n = socket.gethostname(); print(n, socket.gethostbyname(n), len(psutil.pids()))"
        host, address, processes = lab.run(name, [sys.executable, "-c", code], check=True).stdout.split()
        seen[host] = address
        assert int(processes) == 2  # its sshd and Python itself
    assert seen == lab.addresses == {"a": "192.168.77.1", "b": "192.168.77.2", "c": "192.168.77.3"}
    assert lab.run("a", ["ssh", "-o", "BatchMode=yes", "c", "uname -n"], check=True).stdout == "c\n"


def test_a_link_carries_what_it_is_told_to(lab: Lab) -> None:
    """3 MiB at 50 Mbit/s take half a second, less the bucket of tokens; without shaping it is far faster."""
    code = (
        "import socket, sys, time; n = 3 * 2**20\n"
        "if sys.argv[1] == 'take':\n"
        "    s = socket.create_server(('', 5000)); print('ready', flush=True); c, _ = s.accept(); left = n\n"
        "    while left: left -= len(c.recv(2**16))\n"
        "    c.sendall(b'!')\n"
        "else:\n"
        "    s = socket.create_connection((sys.argv[1], 5000)); t = time.monotonic()\n"
        "    s.sendall(bytes(n)); s.recv(1); print(time.monotonic() - t)\n"
    )
    lab.shape("50mbit")
    try:
        with lab.start("b", [sys.executable, "-c", code, "take"], stdout=subprocess.PIPE) as taker:
            assert taker.stdout is not None
            assert taker.stdout.readline() == "ready\n"
            took = float(lab.run("a", [sys.executable, "-c", code, "b"], check=True).stdout)
    finally:
        lab.shape(None)
    wire = (3 * 2**20 - 2 * 65536) * 8 / bits("50mbit")
    assert took > wire  # It can't be faster; how much slower is the machine's business.


@pytest.mark.parametrize("hosts", [2, 3])
def test_a_run_spans_hosts(lab: Lab, small_recipe: Path, tmp_path: Path, hosts: int) -> None:
    places = ",".join(f"{name}:1" for name in lab.names[:hosts])
    command = [*LAUNCH, ETHERNET, "-np", str(hosts), "-H", places, small_recipe, "train.max_steps=3"]
    output = tmp_path / "run"
    finished = lab.run("a", [*command, f"output_dir={output}"], env=ENVIRONMENT)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert f"{hosts} on {hosts} hosts" in finished.stdout
    records = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    start = next(record for record in records if record["event"] == "start")
    assert (start["world_size"], start["hosts"]) == (hosts, hosts)
    assert lab.left() == []


@pytest.mark.parametrize(
    ("arguments", "problems"),
    [
        (
            ["-H", "a:1,b:1", "--network-interfaces=eth1"],
            ["a: has no interface eth1", "b: has no interface eth1", "it has lo (127.0.0.1/8), eth0 (192.168.77.2/24)"],
        ),
        (["-H", "a:1,b:1", "--network-interfaces=lo"], ["b: lo is 127.0.0.1/8 there, which other hosts can't reach"]),
        (["-H", "a:1,nowhere:1"], ["host nowhere: can't be reached over ssh", "ssh: Could not resolve hostname"]),
        (["-H", "a:1,b:1", "-p", "23"], ["host b: can't be reached", "port 23: Connection refused", "ssh -p 23 "]),
    ],
)
def test_what_can_not_work_is_refused_before_the_start(
    lab: Lab, small_recipe: Path, tmp_path: Path, arguments: list[str], problems: list[str]
) -> None:
    finished = lab.run("a", [*LAUNCH, "-np", "2", *arguments, small_recipe, f"output_dir={tmp_path / 'run'}"])
    assert finished.returncode == 2
    assert "Traceback" not in finished.stderr
    assert "starting" not in finished.stdout + finished.stderr
    for problem in problems:
        assert problem in finished.stderr
    assert not (tmp_path / "run").exists()


def test_a_loopback_name_on_another_host_is_named_before_the_start(small_recipe: Path, tmp_path: Path) -> None:
    """This machine's own name is well: only asking the other host finds it."""
    with Lab(hosts=2, loopback_names=["b"], interfaces={"b": "ens5"}) as lab:
        command = [*LAUNCH, "-np", "2", "-H", "a:1,b:1", small_recipe, f"output_dir={tmp_path / 'run'}"]
        finished = lab.run("a", command)
    assert finished.returncode == 2
    assert "b: its own name, b, resolves there to 127.0.1.1" in finished.stderr
    assert "put the line '192.168.77.2 b' first in its /etc/hosts" in finished.stderr
    assert "a: its own name" not in finished.stderr
    assert "share no network interface: a has lo (127.0.0.1/8), eth0 (192.168.77.1/24); b has lo" in finished.stderr


ENDLESS = ("train.max_steps=100000", "train.save_interval=100000", "train.eval_interval=100000", "train.hang_timeout=8")


@contextmanager
def training(lab: Lab, recipe: Path, output: Path) -> Iterator[subprocess.Popen[str]]:
    """A launcher on host a whose workers, on a and b, have done updates and would go on for hours."""
    command = [*LAUNCH, ETHERNET, "-np", "2", "-H", "a:1,b:1", recipe, f"output_dir={output}", *ENDLESS]
    with lab.start("a", command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as launcher:
        assert launcher.stdout is not None
        for line in launcher.stdout:
            if "loss" in line and line.lstrip().startswith("step"):
                break
        assert lab.processes("b")
        yield launcher


def test_ctrl_c_stops_the_workers_of_all_hosts_with_a_checkpoint(lab: Lab, small_recipe: Path, tmp_path: Path) -> None:
    with training(lab, small_recipe, tmp_path / "run") as launcher:
        lab.send(launcher, signal.SIGINT)
        rest = launcher.communicate(timeout=100)[0]
    assert launcher.returncode == 128 + signal.SIGINT, rest
    assert list((tmp_path / "run" / "checkpoints").glob("step-*"))
    assert lab.left() == []


def test_a_worker_that_is_frozen_on_another_host_ends_the_job_and_is_named(
    lab: Lab, small_recipe: Path, tmp_path: Path
) -> None:
    with training(lab, small_recipe, tmp_path / "run") as launcher:
        [worker] = [process for process in lab.processes("b") if "hvdtrain" in process.cmdline()]
        worker.send_signal(signal.SIGSTOP)
        rest = launcher.communicate(timeout=100)[0]
    assert launcher.returncode == 1, rest
    assert "error: worker 1 " in rest
    assert "worker 0 waited for" in rest
    assert lab.left() == []


def test_nothing_is_left_on_any_host_of_a_launcher_that_was_killed(
    lab: Lab, small_recipe: Path, tmp_path: Path
) -> None:
    with training(lab, small_recipe, tmp_path / "run") as launcher:
        lab.send(launcher, signal.SIGKILL)
        assert lab.left(patience=60.0) == []  # they have GRACE for a checkpoint


def test_nothing_of_a_lab_is_left() -> None:
    before = set(psutil.Process().children(recursive=True))
    with Lab(hosts=2) as lab:
        folder, sleeper = lab.folder, lab.start("b", ["sleep", "60"])
        made = set(psutil.Process().children(recursive=True)) - before
        assert sorted(process.name() for process in made if process.name() == "sshd") == ["sshd", "sshd"]
    assert sleeper.wait(timeout=60) != 0
    assert not folder.exists()
    assert not [process for process in made if process.is_running()]


def test_a_lab_ends_with_the_process_that_made_it() -> None:
    code = (
        "import time; from namespaces import Lab\n"
        "lab = Lab(hosts=2).__enter__(); print(*lab._first.values(), lab.folder, flush=True); time.sleep(60)"
    )
    path = str(Path(sys.modules[Lab.__module__].__file__ or "").parent)
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": path}
    ) as maker:
        assert maker.stdout is not None
        *pids, folder = maker.stdout.readline().split()
        assert all(psutil.pid_exists(int(pid)) for pid in pids)
        maker.kill()
    subprocess.run(["rm", "-r", folder], check=True)
    gone = time.monotonic() + 10
    while any(psutil.pid_exists(int(pid)) for pid in pids) and time.monotonic() < gone:
        time.sleep(0.05)
    assert not any(psutil.pid_exists(int(pid)) for pid in pids)
