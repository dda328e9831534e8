"""All hosts of a job are asked, before anything is started, whether they can work together.

What fails in Horovod after half a minute, with the last line of some traceback, is named here in a second or two.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hvdtrain.errors import SetupError
from hvdtrain.launch import host_facts, hosts, ssh
from hvdtrain.launch.host_checks import Verdict, examine
from hvdtrain.launch.host_facts import HostFacts
from hvdtrain.launch.hosts import Host

PATIENCE = 30.0
"""Seconds in which a host must answer; connecting to it has `ssh.CONNECT_SECONDS` of them."""

Ask = Callable[[str], "HostFacts | str"]


@dataclass(frozen=True)
class Preflight:
    """What the hosts told, in the order of the job, and what is doubtful."""

    hosts: tuple[HostFacts, ...]
    warnings: tuple[str, ...]


def preflight(
    asked: Sequence[Host], controller: str | None, flags: Mapping[str, Any], *, ask: Ask | None = None
) -> Preflight:
    """Ask every host of a job about itself, all at once, and check that they fit together.

    Args:
        asked: the hosts; this machine may be one of them, under any of its names.
        controller: "gloo", "mpi", or None where horovodrun chooses.
        flags: those of horovodrun, by `Flag.key`; of use are network_interfaces, ssh_port, ssh_identity_file, min_np,
            and host_discovery_script.
        ask: asks a host that is not this machine; by default over ssh. Returns its facts, or what is wrong with it.

    Raises:
        SetupError: hosts can't be reached, lack something, or do not fit together; it names each with what to do.
    """
    far = set(hosts.remote(asked))
    ask = ask or (lambda name: over_ssh(name, flags.get("ssh_port"), flags.get("ssh_identity_file")))
    directory = str(Path.cwd())
    with ThreadPoolExecutor(max_workers=32) as pool:
        answers = list(
            pool.map(
                lambda host: ask(host.name) if host.name in far else host_facts.gather(host.name, directory), asked
            )
        )
    silent = [answer for answer in answers if isinstance(answer, str)]
    facts = tuple(answer for answer in answers if isinstance(answer, HostFacts))
    if silent:
        raise SetupError(_together(silent))
    here = host_facts.gather(socket.gethostname(), directory)
    # A host whose name resolves to its loopback is this machine all the same, where it has the same interfaces.
    launcher = None if len(far) < len(asked) or any(one.interfaces == here.interfaces for one in facts) else here
    gloo = uses_gloo(facts, controller, flags)
    verdict = examine(facts, gloo=gloo, named=_names(flags), launcher=launcher) if far else Verdict()
    if verdict.problems:
        raise SetupError(_together(verdict.problems))
    warnings = [f"{one.name}: there is no directory {directory}; workers start elsewhere" for one in _astray(facts)]
    return Preflight(facts, (*verdict.warnings, *warnings))


def uses_gloo(facts: Sequence[HostFacts], controller: str | None, flags: Mapping[str, Any]) -> bool:
    """Return whether the workers will be coordinated by Gloo: when asked to, when elastic, and for want of MPI."""
    elastic = flags.get("min_np") is not None or flags.get("host_discovery_script") is not None
    return controller == "gloo" or elastic or (controller is None and not any(one.mpi for one in facts))


def over_ssh(host: str, port: int | None = None, identity_file: str | None = None) -> HostFacts | str:
    """Ask a host over ssh; return its facts, or a sentence that says why there are none."""
    there = ssh.python("hvdtrain.launch.host_facts", [host, str(Path.cwd())])
    try:
        ran = subprocess.run(
            ssh.command(host, there, port, identity_file),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"{host}: did not answer over ssh within {PATIENCE:g} s"
    except OSError as error:
        return f"{host}: can't be reached, for ssh can't be run here ({error}); apt-get install openssh-client"
    return host_facts.parse(ran.stdout) or explain(host, ran.returncode, ran.stderr, port)


def explain(host: str, code: int, said: str, port: int | None = None) -> str:
    """Return why a host gave no facts, from the exit code of ssh and what it wrote to stderr."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    last = lines[-1] if lines else f"exit code {code}"
    if code == 255:
        test = f"ssh {'' if port is None else f'-p {port} '}-o BatchMode=yes {host} true"
        return f"{host}: can't be reached over ssh ({last}); this must work without a password: {test}"
    if code in (126, 127):
        return f"{host}: has no Python at {sys.executable} ({last}); all hosts need the installation at the same path"
    if "No module named" in last:
        return f"{host}: its Python, {sys.executable}, lacks a package ({last}); install hvdtrain there too"
    return f"{host}: hvdtrain could not be run there: {last}"


def _names(flags: Mapping[str, Any]) -> tuple[str, ...]:
    text = flags.get("network_interfaces") or ""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _astray(facts: Iterable[HostFacts]) -> list[HostFacts]:
    return [one for one in facts if not one.directory]


def _together(problems: Sequence[str]) -> str:
    if len(problems) == 1:
        return f"host {problems[0]}"
    return "\n  ".join(["these hosts can't work together yet:", *problems])
