from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from dataclasses import asdict, replace
from pathlib import Path

import psutil
import pytest

from hvdtrain.errors import SetupError
from hvdtrain.launch import host_facts, preflight, ssh
from hvdtrain.launch.host_facts import HostFacts
from hvdtrain.launch.hosts import Host

VERSIONS = {"hvdtrain": "0.1.0", "horovod": "0.28.1", "torch": "2.13.0"}
HOSTS = tuple(Host(name, 2) for name in ("a", "b", "c"))


def facts(name: str, number: int) -> HostFacts:
    links = {"lo": ("127.0.0.1/8",), "eth0": (f"10.0.0.{number}/24",)}
    return HostFacts(name, name, f"10.0.0.{number}", links, cores=number, versions=VERSIONS, mpi=True)


ALL = {name: facts(name, number) for number, name in enumerate("abc", start=1)}


@pytest.fixture(autouse=True)
def _here_is_a(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hvdtrain.launch.hosts.remote", lambda asked: tuple(h.name for h in asked if h.name != "a"))
    monkeypatch.setattr(host_facts, "gather", lambda name, directory: replace(ALL["a"], name=name))


def test_the_facts_come_in_the_order_of_the_job_and_this_machine_is_not_asked_over_ssh() -> None:
    asked = []

    def ask(name: str) -> HostFacts:
        asked.append(name)
        return ALL[name]

    found = preflight.preflight((HOSTS[2], HOSTS[0], HOSTS[1]), "gloo", {}, ask=ask)
    assert [(host.name, host.cores) for host in found.hosts] == [("c", 3), ("a", 1), ("b", 2)]
    assert found.warnings == ()
    assert sorted(asked) == ["b", "c"]


def test_hosts_are_asked_all_at_once() -> None:
    """Each answer waits for the other question."""
    together = threading.Barrier(2, timeout=20)

    def ask(name: str) -> HostFacts:
        together.wait()
        return ALL[name]

    assert len(preflight.preflight(HOSTS, "gloo", {}, ask=ask).hosts) == 3


def test_every_silent_host_is_named() -> None:
    def ask(name: str) -> str:
        return f"{name}: is away"

    with pytest.raises(SetupError) as caught:
        preflight.preflight(HOSTS, "gloo", {}, ask=ask)
    assert str(caught.value).splitlines()[1:] == ["  b: is away", "  c: is away"]
    with pytest.raises(SetupError, match="^host b: is away$"):
        preflight.preflight(HOSTS[:2], "gloo", {}, ask=ask)


def test_a_host_without_the_directory_is_a_warning() -> None:
    found = preflight.preflight(HOSTS[:2], "gloo", {}, ask=lambda name: replace(ALL[name], directory=False))
    assert found.warnings == (f"b: there is no directory {Path.cwd()}; workers start elsewhere",)


def test_hosts_that_do_not_fit_are_an_error() -> None:
    odd = replace(ALL["b"], versions=VERSIONS | {"torch": "2.6.0"})
    with pytest.raises(SetupError, match=r"^host b: has torch 2\.6\.0, a has 2\.13\.0"):
        preflight.preflight(HOSTS[:2], "gloo", {}, ask=lambda name: odd)


@pytest.mark.parametrize(
    ("controller", "flags", "mpi", "gloo"),
    [
        ("gloo", {}, True, True),
        ("mpi", {}, True, False),
        (None, {}, True, False),
        (None, {}, False, True),
        (None, {"min_np": 1}, True, True),
        (None, {"host_discovery_script": "x"}, True, True),
    ],
)
def test_a_loopback_name_is_an_error_where_gloo_will_be_used(
    controller: str | None, flags: dict[str, object], mpi: bool, gloo: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ALL, "a", replace(ALL["a"], mpi=mpi))
    wrong = replace(ALL["b"], mpi=mpi, address="127.0.1.1")
    if gloo:
        with pytest.raises(SetupError, match="^host b: its own name, b, resolves there to 127"):
            preflight.preflight(HOSTS[:2], controller, flags, ask=lambda _: wrong)
    else:
        (warning,) = preflight.preflight(HOSTS[:2], controller, flags, ask=lambda _: wrong).warnings
        assert warning.startswith("b: its own name")


def test_a_machine_that_only_launches_is_looked_at_too() -> None:
    """It has eth0, the hosts have been given another interface."""
    links = {"ib0": ("10.8.0.2/24",)}
    far = replace(ALL["b"], interfaces=links, address="10.8.0.2")
    with pytest.raises(SetupError, match=f"^host {socket.gethostname()}: has no interface ib0"):
        preflight.preflight(HOSTS[1:2], "gloo", {"network_interfaces": "ib0"}, ask=lambda _: far)
    assert preflight.preflight(HOSTS[1:2], "mpi", {"network_interfaces": "ib0"}, ask=lambda _: far).hosts == (far,)


def test_one_machine_is_not_examined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ALL, "a", replace(ALL["a"], address="127.0.1.1", interfaces={}))
    assert preflight.preflight(HOSTS[:1], "gloo", {"network_interfaces": "eth7"}).hosts == (ALL["a"],)


@pytest.mark.parametrize(
    ("code", "said", "told"),
    [
        (255, "noise\nssh: connect to host b port 22: No route to host\n", "(ssh: connect to host b port 22: No route"),
        (255, "", "(exit code 255); this must work without a password: ssh -o BatchMode=yes b true"),
        (127, "bash: line 1: /x/python: No such file or directory", f"has no Python at {sys.executable} (bash: line 1"),
        (
            1,
            f"{sys.executable}: Error while finding module\nModuleNotFoundError: No module named 'hvdtrain'",
            "install",
        ),
        (1, "Traceback\nOSError: disk", "hvdtrain could not be run there: OSError: disk"),
    ],
)
def test_why_a_host_gave_no_facts(code: int, said: str, told: str) -> None:
    explained = preflight.explain("b", code, said)
    assert explained.startswith("b: ")
    assert told in explained


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An ssh that runs the command on this machine, after noise such as a login shell's."""
    program = tmp_path / "ssh"
    program.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/log\necho welcome\nfor last; do :; done\nexec sh -c "$last"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    return tmp_path / "log"


def test_a_host_tells_its_facts_over_ssh(shell: Path) -> None:
    found = preflight.over_ssh("far", 2222, "key")
    assert isinstance(found, HostFacts)
    own = {a.address for every in psutil.net_if_addrs().values() for a in every if a.family == socket.AF_INET}
    told = {address.partition("/")[0] for every in found.interfaces.values() for address in every}
    assert (found.name, found.own_name) == ("far", socket.gethostname())
    assert told <= own
    assert "127.0.0.1/8" in found.interfaces["lo"]
    assert found.directory
    path = f"PYTHONPATH={os.environ['PYTHONPATH']} "
    for option in (path, "-p 2222 -i key far", "BatchMode=yes", "ConnectTimeout=5", "StrictHostKeyChecking=no"):
        assert option in shell.read_text()


def test_without_the_directory_the_host_is_asked_all_the_same(
    shell: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    monkeypatch.setattr(Path, "cwd", lambda: tmp_path / "gone")
    found = preflight.over_ssh("far")
    assert isinstance(found, HostFacts)
    assert not found.directory


def test_a_python_that_is_not_there_is_named(shell: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/bin/python")
    assert "far: has no Python at /nowhere/bin/python" in str(preflight.over_ssh("far"))


def test_a_host_that_hangs_is_given_up(shell: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "PATIENCE", 0.05)
    monkeypatch.setattr(ssh, "python", lambda module, arguments: "exec sleep 60")
    assert preflight.over_ssh("far") == "far: did not answer over ssh within 0.05 s"


def test_without_ssh_the_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "apt-get install openssh-client" in str(preflight.over_ssh("far"))


def test_facts_survive_their_way_as_text() -> None:
    assert host_facts.parse("motd\n" + json.dumps(asdict(ALL["b"])) + "\nlogout") == ALL["b"]
    assert host_facts.parse("motd") is None
    assert host_facts.parse('{"other": 1}') is None


def test_asking_imports_nothing_heavy() -> None:
    code = "import sys; from hvdtrain.launch import host_facts as h; h.gather('x', '/'); print('torch' in sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert ran.stdout == "False\n"
