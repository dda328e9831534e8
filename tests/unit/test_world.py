from __future__ import annotations

import socket
import subprocess
import sys

import torch

from hvdtrain.world import Detached, Solo


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
