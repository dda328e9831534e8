"""Where horovodrun's servers listen."""

from __future__ import annotations

import os
import socketserver
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from hvdtrain.errors import UserError
from hvdtrain.launch import doors
from hvdtrain.launch.hosts import Host


@pytest.mark.parametrize(
    ("named", "flags", "address"),
    [
        ((), {}, "127.0.0.1"),
        ((Host("localhost", 2),), {}, "127.0.0.1"),
        ((Host("host.invalid", 1),), {}, ""),
        ((Host("host.invalid", 1),), {"network_interfaces": "lo,eth9"}, "127.0.0.1"),
        ((Host("localhost", 1),), {"host_discovery_script": "x"}, ""),
    ],
)
def test_the_address_is_one_that_every_worker_reaches(named, flags, address: str) -> None:
    assert doors.address_for(named, flags) == address


def test_an_interface_without_an_address_is_no_reason_to_listen_on_all() -> None:
    with pytest.raises(UserError, match="none9 has no IPv4 address on this host"):
        doors.address_for((Host("host.invalid", 1),), {"network_interfaces": "none9"})


def test_a_server_is_made_on_the_address_and_its_port_is_told() -> None:
    find_port = doors.bound_to("127.0.0.1")
    server, port = find_port(lambda place: socketserver.TCPServer(place, socketserver.BaseRequestHandler))
    with server:
        assert server.socket.getsockname() == ("127.0.0.1", port)


def test_all_addresses_are_plain_horovodrun() -> None:
    assert doors.command("/x/horovodrun", "") == ["/x/horovodrun"]


def listening(process: psutil.Process) -> set[str]:
    """The addresses on which a process and those that it started listen."""
    found = set()
    for one in (process, *process.children(recursive=True)):
        try:
            found |= {c.laddr.ip for c in one.net_connections("inet") if c.status == psutil.CONN_LISTEN}
        except psutil.Error:
            continue
    return found


@pytest.mark.parametrize("address", ["127.0.0.1", ""])
def test_a_job_of_this_machine_listens_on_the_loopback_only(tmp_path: Path, address: str) -> None:
    """And horovodrun by itself on all addresses, or this test would show nothing."""
    pytest.importorskip("horovod", reason="Horovod is not installed")
    program = doors.command(str(Path(sys.executable).parent / "horovodrun"), address)
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    (tmp_path / "go").touch()
    waits = f"while [ -e {tmp_path / 'go'} ]; do sleep 0.1; done"
    job = subprocess.Popen(
        [*program, "-np", "1", "--gloo", "sh", "-c", waits], env=environment, stdout=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 60
        while not (found := listening(psutil.Process(job.pid))) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert found == {address or "0.0.0.0"}
    finally:
        (tmp_path / "go").unlink()
        job.wait(timeout=60)
    assert job.returncode == 0
