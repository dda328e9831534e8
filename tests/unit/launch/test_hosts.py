from __future__ import annotations

import re
import socket
from pathlib import Path

import psutil
import pytest

from hvdtrain.errors import UserError
from hvdtrain.launch.hosts import (
    Host,
    discover,
    interface_of,
    interface_to_others,
    loopback_problem,
    parse_hosts,
    read_hostfile,
    remote,
)


def test_hosts_are_parsed() -> None:
    assert parse_hosts("a:2, b-1.example:4") == (Host("a", 2), Host("b-1.example", 4))


@pytest.mark.parametrize("text", ["a", "a:", "a:0", "a:x", ":2", "a:2,", "a b:2", "a:2:3", "", "a:-1", "$(x):1"])
def test_what_is_no_host_is_told_with_an_example(text: str) -> None:
    with pytest.raises(UserError, match=r"is no host; expected NAME:SLOTS.*node1:4"):
        parse_hosts(text)


def test_a_host_given_twice_is_an_error() -> None:
    with pytest.raises(UserError, match="a is there more than once"):
        parse_hosts("a:1,b:1,a:2")


def test_a_hostfile_may_have_comments_and_empty_lines(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_text("# ours\n\na  slots=2\nb slots = 3 # spare\n")
    assert read_hostfile(path) == (Host("a", 2), Host("b", 3))


@pytest.mark.parametrize(
    ("text", "problem"),
    [("a\n", r"hosts:1: a: .*NAME slots=N"), ("", "names no host"), ("a slots=1\na slots=1", "more than once")],
)
def test_a_bad_hostfile_names_the_line(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "hosts").write_text(text)
    with pytest.raises(UserError, match=problem):
        read_hostfile(tmp_path / "hosts")


def test_a_missing_hostfile_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="can't be read"):
        read_hostfile(tmp_path / "none")


def test_this_machine_is_not_remote(monkeypatch: pytest.MonkeyPatch) -> None:
    addresses = {"localhost": "127.0.0.1", "there": "198.51.100.7"}

    def lookup(name: str) -> str:
        if name not in addresses:
            raise socket.gaierror
        return addresses[name]

    monkeypatch.setattr(socket, "gethostbyname", lookup)
    hosts = (Host("localhost", 1), Host("there", 1), Host("known-to-ssh-only", 1))
    assert remote(hosts) == ("there", "known-to-ssh-only")


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ("127.0.1.1", "resolves to 127.0.1.1.*put its network address before node7"),
        (None, "has no address"),
        ("10.0.0.7", None),
    ],
)
def test_a_name_on_the_loopback_is_seen_before_the_workers_die_of_it(address: str | None, problem: str | None) -> None:
    found = loopback_problem("node7", lambda _: address)
    if problem is None:
        assert found is None
    else:
        assert found is not None
        assert re.search(problem, found)


def test_hosts_are_discovered_by_a_script(tmp_path: Path) -> None:
    script = tmp_path / "discover"
    script.write_text("#!/bin/sh\necho a:2\necho\necho b\n")
    script.chmod(0o755)
    assert discover(str(script)) == (Host("a", 2), Host("b", 1))
    assert discover(str(tmp_path / "none")) == ()


def test_the_interface_of_an_address() -> None:
    assert "127.0.0.1" in {one.address for one in psutil.net_if_addrs()[interface_of("127.0.0.1")]}
    with pytest.raises(UserError, match=r"no network interface of this machine has the address 192\.0\.2\.77"):
        interface_of("192.0.2.77")


def test_others_are_reached_by_the_interface_of_the_default_route_or_else_the_loopback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    routes = [line.split() for line in Path("/proc/net/route").read_text().splitlines()[1:]]
    default = [name for name, destination, *_ in routes if destination == "00000000"]
    assert interface_to_others() in (default or [interface_of("127.0.0.1")])

    def unreachable(self: socket.socket, address: object) -> None:
        raise OSError("Network is unreachable")

    monkeypatch.setattr(socket.socket, "connect", unreachable)
    assert interface_to_others() == interface_of("127.0.0.1")
