"""The hosts of a job: who they are, which of them is this machine, and whether their names will do."""

from __future__ import annotations

import ipaddress
import re
import socket
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hvdtrain.errors import UserError

_NAME = re.compile(r"[\w.-]+")
_FORM = "expected NAME:SLOTS, several with commas between them, such as node1:4,node2:4"


@dataclass(frozen=True)
class Host:
    """A host and how many workers it takes."""

    name: str
    slots: int

    def __str__(self) -> str:
        return f"{self.name}:{self.slots}"


def parse_hosts(text: str) -> tuple[Host, ...]:
    """Return the hosts of `-H a:2,b:4`.

    Raises:
        UserError: the text is of another form, or a host is there twice.
    """
    return _distinct([_host(item.strip(), ":", f"-H {text}") for item in text.split(",")], f"-H {text}")


def read_hostfile(path: Path) -> tuple[Host, ...]:
    """Return the hosts of a file with lines `NAME slots=N`; empty lines and comments (#) are fine.

    Raises:
        UserError: the file can't be read, or a line is of another form.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--hostfile {path}: can't be read ({error})") from error
    found = []
    for number, line in enumerate(lines, start=1):
        content = " ".join(line.partition("#")[0].split()).replace(" =", "=").replace("= ", "=")
        if content:
            found.append(_host(content, " slots=", f"{path}:{number}: {line.strip()}"))
    if not found:
        raise UserError(f"--hostfile {path}: names no host")
    return _distinct(found, f"--hostfile {path}")


def _host(item: str, separator: str, where: str) -> Host:
    name, _, slots = item.partition(separator)
    if not _NAME.fullmatch(name) or not slots.isdecimal() or int(slots) < 1:
        form = _FORM if separator == ":" else "expected NAME slots=N"
        raise UserError(f"{where}: '{item}' is no host; {form}")
    return Host(name, int(slots))


def _distinct(hosts: list[Host], where: str) -> tuple[Host, ...]:
    names = [host.name for host in hosts]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f"{where}: {', '.join(twice)} is there more than once; give each host once with all its slots")
    return tuple(hosts)


def remote(hosts: Iterable[Host]) -> tuple[str, ...]:
    """Return the names of the hosts that are not this machine, as horovodrun tells them apart."""
    import psutil

    own = {a.address for addresses in psutil.net_if_addrs().values() for a in addresses if a.family == socket.AF_INET}
    return tuple(host.name for host in hosts if resolve(host.name) not in own)


def flags_for(flags: Mapping[str, Any], hosts: Sequence[Host]) -> dict[str, Any]:
    """Return the flags of horovodrun that a job on these hosts can do with.

    Where all are this machine horovodrun communicates over the loopback, and fails if it is told another interface.
    """
    useless = () if remote(hosts) else ("network_interfaces",)
    return {key: value for key, value in flags.items() if key not in useless}


def interface_to_others() -> str:
    """Return the interface by which this machine reaches others: that of its default route, else the loopback's."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing; the address is one for documentation (RFC 5737)
        except OSError:
            return interface_of("127.0.0.1")
        return interface_of(probe.getsockname()[0])


def interface_of(address: str) -> str:
    """Return the network interface of this machine that has an address.

    Raises:
        UserError: none has.
    """
    import psutil

    for name, addresses in psutil.net_if_addrs().items():
        if any(one.address == address for one in addresses):
            return name
    raise UserError(f"no network interface of this machine has the address {address}")


def discover(script: str) -> tuple[Host, ...]:
    """Return the hosts that a discovery script prints now; none where it fails or tells no slots."""
    try:
        output = subprocess.run([script], capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    names = (line.strip().partition(":") for line in output.splitlines())
    return tuple(Host(name, int(slots) if slots.isdecimal() else 1) for name, _, slots in names if name)


def resolve(name: str) -> str | None:
    """Return the IPv4 address of a name, or None."""
    try:
        return socket.gethostbyname(name)
    except OSError:
        return None


def loopback_problem(name: str, lookup: Callable[[str], str | None] = resolve) -> str | None:
    """Return what is wrong with this machine's own name for runs on several hosts with Gloo, or None.

    Gloo's context for process sets takes the address that the host's own name resolves to, whatever
    `--network-interfaces` says. Where that is a loopback address, the workers start and then die of
    `connect [127.0.0.1]: Connection refused`.
    """
    address = lookup(name)
    if address is None:
        return f"this machine's own name, {name}, has no address; add a line 'ADDRESS {name}' to /etc/hosts"
    if ipaddress.ip_address(address).is_loopback:
        return (
            f"this machine's own name, {name}, resolves to {address}, where other hosts can't reach it; "
            f"put its network address before {name} in /etc/hosts"
        )
    return None
