"""What a host must tell before a job may start on it. Run there as a program, it prints that as one line of JSON."""

from __future__ import annotations

import importlib.util
import json
import mmap
import socket
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("hvdtrain", "horovod", "torch")


@dataclass(frozen=True)
class HostFacts:
    """A host of a job.

    Attributes:
        name: what the job calls it.
        own_name: what it calls itself.
        address: the IPv4 address that its own name resolves to there; None where it does not.
        interfaces: the IPv4 addresses of each of its interfaces that is up, with their network: `10.0.0.7/24`.
        cores: those that a worker started there may use.
        versions: of `PACKAGES`; None where one is not installed.
        mpi: whether its Horovod was built with MPI.
        directory: whether the directory of the job is there.
    """

    name: str
    own_name: str = ""
    address: str | None = None
    interfaces: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    cores: int = 1
    versions: Mapping[str, str | None] = field(default_factory=dict)
    mpi: bool = False
    directory: bool = True


def gather(name: str, directory: str) -> HostFacts:
    """Return the facts of this machine. Nothing heavy is imported for it."""
    from hvdtrain.launch.hosts import resolve
    from hvdtrain.launched import usable_cores

    own_name = socket.gethostname()
    return HostFacts(
        name=name,
        own_name=own_name,
        address=resolve(own_name),
        interfaces=_interfaces(),
        cores=usable_cores(),
        versions={package: _version(package) for package in PACKAGES},
        mpi=_with_mpi(),
        directory=Path(directory).is_dir(),
    )


def parse(text: str) -> HostFacts | None:
    """Return the facts that a host printed, or None; a login shell may have printed before them."""
    for line in reversed(text.splitlines()):
        if line.startswith("{"):
            try:
                values: dict[str, Any] = json.loads(line)
                values["interfaces"] = {name: tuple(found) for name, found in values["interfaces"].items()}
                return HostFacts(**values)
            except (ValueError, TypeError, KeyError, AttributeError):
                return None
    return None


def _interfaces() -> dict[str, tuple[str, ...]]:
    import psutil

    up = {name for name, state in psutil.net_if_stats().items() if state.isup}
    found: dict[str, tuple[str, ...]] = {}
    for name, addresses in psutil.net_if_addrs().items():
        with_network = tuple(
            f"{one.address}/{bin(int.from_bytes(socket.inet_aton(one.netmask or '255.255.255.255'), 'big')).count('1')}"
            for one in addresses
            if one.family == socket.AF_INET
        )
        if with_network and name in up:
            found[name] = with_network
    return found


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _with_mpi() -> bool:
    """Whether horovodrun would take MPI by itself: its library is linked to one. Importing it takes seconds."""
    spec = importlib.util.find_spec("horovod")
    for folder in (spec and spec.submodule_search_locations) or ():
        for library in Path(folder, "torch").glob("mpi_lib*.so"):
            with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                if content.find(b"libmpi") >= 0:
                    return True
    return False


def main() -> None:
    """Print the facts of this machine; the arguments are its name in the job and the job's directory."""
    name, directory = sys.argv[1:]
    sys.stdout.write(json.dumps(asdict(gather(name, directory))) + "\n")


if __name__ == "__main__":
    main()
