"""horovodrun with its servers on one address of this host; its own way is all of them, whatever interfaces it is told.

`python -m hvdtrain.launch.doors ADDRESS ARGUMENTS...` is `horovodrun ARGUMENTS...` but for that. Horovod has no option
for it: what opens a port is one function of its launcher, in whose place another is put here. And where all hosts are
this one it takes the loopback interface and no other; a job whose hosts may change begins on that of the address.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import psutil

from hvdtrain.errors import UserError
from hvdtrain.launch import hosts
from hvdtrain.launch.hosts import Host

LOOPBACK = "127.0.0.1"


def command(program: str, address: str, python: str = sys.executable) -> list[str]:
    """Return the program that stands for horovodrun with its servers on an address; "" means all addresses."""
    return [python, "-m", __name__, address] if address else [program]


def address_for(named: Sequence[Host], flags: Mapping[str, Any]) -> str:
    """Return the address of this host that all workers of a job reach; "" where only all of them will do.

    That is the loopback where all hosts are this one for ever, and else that of the first interface that was asked for.

    Raises:
        UserError: it has none.
    """
    interface = (flags.get("network_interfaces") or "").partition(",")[0]
    if interface:
        own = psutil.net_if_addrs().get(interface, [])
        address = next((one.address for one in own if one.family.name == "AF_INET"), None)
        if address is None:
            raise UserError(
                f"--network-interfaces: {interface} has no IPv4 address on this host, for horovodrun's servers; "
                f"expected one of {', '.join(psutil.net_if_addrs())}"
            )
        return address
    may_change = flags.get("host_discovery_script") is not None
    return "" if may_change or hosts.remote(named) else LOOPBACK


def bound_to(address: str) -> Callable[[Callable[[tuple[str, int]], Any]], tuple[Any, int]]:
    """Return what does as Horovod's `find_port`, on one address: make a server on a free port, return both."""

    def find_port(make: Callable[[tuple[str, int]], Any]) -> tuple[Any, int]:
        server = make((address, 0))
        return server, server.socket.getsockname()[1]

    return find_port


def main(address: str, arguments: Sequence[str]) -> None:
    """Be horovodrun."""
    from horovod.runner import launch
    from horovod.runner.common.util import network as services
    from horovod.runner.driver import driver_service
    from horovod.runner.http import http_server
    from horovod.runner.util import network

    for module in (network, services, http_server):
        module.find_port = bound_to(address)
    driver_service.get_local_interfaces = lambda settings: {hosts.interface_of(address)}
    # It remembers answers of other hosts, in a file that jobs which start at once spoil for each other.
    forget = ["--disable-cache"] if address == LOOPBACK else []
    sys.argv = ["horovodrun", *forget, *arguments]
    sys.exit(launch.run_commandline())


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
