from __future__ import annotations

import os
import socket
import subprocess
import sys
from importlib.util import find_spec
from types import SimpleNamespace

import pytest
import torch

from hvdtrain.world import Detached, Solo, _engine


class Fourth(Solo):
    """A worker's view of a world of four."""

    rank, size, local_rank, local_size = 3, 4, 1, 2


def test_workers_that_do_not_talk_keep_their_places_and_stand_for_all() -> None:
    world = Detached(Fourth())
    assert (world.rank, world.size, world.local_rank, world.local_size) == (3, 4, 1, 2)
    assert world.gather({"a": 1}) == [{"a": 1}] * 4
    pending = world.start_sum(torch.tensor([1.0, 2.0]), "x")
    assert pending.done()
    assert pending.wait().tolist() == [4.0, 8.0]
    weights = {"w": torch.ones(2)}
    world.broadcast_(weights)
    assert weights["w"].tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("mended", "elastic", "fuses", "threshold", "cycle"),
    [
        (True, True, True, "4096", "20"),
        (True, True, False, "0", "20"),
        (False, True, True, "4096", None),
        (False, True, False, "0", None),
        (False, False, False, "0", "20"),
        (False, False, True, "4096", "20"),
    ],
)
def test_an_engine_gets_no_cycle_time_that_would_be_its_fusion_threshold_when_it_starts_anew(
    monkeypatch: pytest.MonkeyPatch, mended: bool, elastic: bool, fuses: bool, threshold: str, cycle: str | None
) -> None:
    monkeypatch.setenv("HOROVOD_FUSION_THRESHOLD", "4096")
    monkeypatch.setenv("HOROVOD_CYCLE_TIME", "20")
    library = SimpleNamespace(horovod_starts_anew=1) if mended else SimpleNamespace()
    hvd = SimpleNamespace(mpi_ops=SimpleNamespace(_basics=SimpleNamespace(MPI_LIB_CTYPES=library)))
    with _engine.environment(hvd, elastic=elastic, fuses=fuses):
        assert os.environ["HOROVOD_FUSION_THRESHOLD"] == threshold
        assert os.environ.get("HOROVOD_CYCLE_TIME") == cycle
    assert (os.environ["HOROVOD_FUSION_THRESHOLD"], os.environ["HOROVOD_CYCLE_TIME"]) == ("4096", "20")


def test_hanging_up_ends_connections_and_leaves_servers() -> None:
    """What a worker does that lost another: whoever waits for it must see that it has gone, while it goes on."""
    code = """
import socket, sys
from hvdtrain.world.elastic import _hang_up
own = socket.create_server(("127.0.0.1", 0))
connection = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
_hang_up()
print(own.getsockname()[1], flush=True)
own.accept()
"""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        worker = subprocess.Popen([sys.executable, "-c", code, port], stdout=subprocess.PIPE, text=True)
        try:
            connection, _ = server.accept()
            connection.settimeout(20)
            assert connection.recv(1) == b""
            assert worker.stdout is not None
            with socket.create_connection(("127.0.0.1", int(worker.stdout.readline())), timeout=20):
                assert worker.wait(20) == 0
            connection.close()
        finally:
            worker.kill()
            worker.communicate()


JOB = """
import socket
import horovod.torch as hvd
from horovod.common.elastic import notification_manager
from horovod.runner.elastic.worker import HostUpdateResult
from hvdtrain.errors import LostWorkerError
from hvdtrain.world import elastic

for name, value in {"rank": 0, "size": 1, "local_rank": 0, "local_size": 1, "mpi_enabled": False}.items():
    setattr(hvd, name, lambda value=value: value)
hvd.allgather = lambda values, name: values
"""
"""A job of one worker without an engine."""


def in_a_job(code: str) -> None:
    """Run code in a process of its own, as what ends connections ends all of a process."""
    finished = subprocess.run([sys.executable, "-c", JOB + code], capture_output=True, text=True, timeout=120)
    assert (finished.returncode, finished.stdout) == (0, "well\n"), finished.stderr


@pytest.mark.skipif(find_spec("horovod") is None, reason="Horovod is not installed")
def test_a_worker_that_lost_another_hangs_up_before_its_engine_ends_which_may_wait_for_who_waits_for_it() -> None:
    in_a_job("""
server = socket.create_server(("127.0.0.1", 0))
connection = socket.create_connection(server.getsockname())
waiting, _ = server.accept()
waiting.settimeout(20)
ended, attempts = [], []
hvd.shutdown = lambda: ended.append(waiting.recv(1))

def attempt(world, check_hosts):
    attempts.append(world)
    if len(attempts) == 1:
        raise LostWorkerError("gone")

elastic.run(attempt, lambda: None)
assert ended == [b""], ended
print("well")
""")


@pytest.mark.skipif(find_spec("horovod") is None, reason="Horovod is not installed")
def test_hosts_that_come_while_the_workers_join_are_not_forgotten() -> None:
    """Horovod's driver tells of each change once."""
    in_a_job("""
hvd.shutdown = lambda: None
attempts, joins = [], []

def again():
    joins.append(1)
    if len(joins) == 1:
        notification_manager.handle_hosts_updated(1000, HostUpdateResult.added)

def attempt(world, check_hosts):
    attempts.append(world)
    if len(attempts) == 1:
        raise LostWorkerError("gone")
    check_hosts()

elastic.run(attempt, again)
assert (len(attempts), len(joins)) == (3, 2), (attempts, joins)
print("well")
""")


@pytest.mark.skipif(find_spec("horovod") is None, reason="Horovod is not installed")
def test_the_horovod_that_scripts_install_builds_can_start_anew() -> None:
    in_a_job("""
from hvdtrain.world import _engine
assert _engine.starts_anew(hvd)
print("well")
""")
