"""Horovod Elastic: workers that come and go while a job runs."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from hvdtrain.errors import LostWorkerError
from hvdtrain.launched import joined
from hvdtrain.world import Horovod, World


def run(attempt: Callable[[World, Callable[[], None]], None], again: Callable[[], World]) -> None:
    """Call `attempt` with the workers that there are, anew after each change of them, until it returns.

    Args:
        attempt: is given the workers, and a function that ends the attempt where hosts have come or gone; all workers
            call that together. No collective comes before it. A `LostWorkerError` of it ends the attempt only.
        again: joins the workers that there are now, once the engine is shut down.
    """
    import horovod.torch as hvd
    from horovod.common.elastic import run_fn
    from horovod.common.exceptions import HorovodInternalError
    from horovod.runner.common.util import network

    lost = False

    def go(hosts: Any) -> None:
        nonlocal lost
        joined(hvd.rank(), hvd.size())
        try:
            attempt(Horovod(hvd), hosts.check_host_updates)
        except LostWorkerError as error:
            lost = True
            raise HorovodInternalError(str(error)) from error

    def reset() -> None:
        nonlocal lost
        if lost:
            # First, as the end of the engine waits for its loop, which may itself wait for one that waits for us.
            _hang_up()
            lost = False
        hvd.shutdown()
        # Again, as a worker that is lost while all shut down ends a loop by an exception too.
        _hang_up()
        try:
            again()
        except ValueError as error:  # what Horovod raises where its engine does not start
            raise LostWorkerError(f"can't join the workers again ({error}); was this host taken away?") from error

    if address := _own_address():
        network.find_port = lambda make: _server(make, address)
    run_fn(go, reset)(_hosts(hvd))


def _hosts(hvd: Any) -> Any:
    """Return what Horovod's loop asks for changes of the hosts."""
    from horovod.common.elastic import State

    class Hosts(State):  # type: ignore[misc]
        """What Horovod wants to know of a state: nothing, as the attempt sees to its own."""

        def on_reset(self) -> None:
            """Keep what was told while the workers joined: the driver tells a change once, and Horovod drops it.

            At worst the workers join again for a host that they have already.
            """

        def save(self) -> None: ...

        def restore(self) -> None: ...

        def sync(self) -> None: ...

    def first(values: Iterable[int]) -> list[int]:
        # Not Horovod's own broadcast of objects, which unpickles what another worker sent.
        told: list[int] = Horovod(hvd).gather([int(value) for value in values])[0]
        return told

    return Hosts(bcast_object=first, get_rank=hvd.rank)


def _hang_up() -> None:
    """End the connections that the engine has, also where it is shut down.

    Where its loop ended by an exception (BackgroundThreadLoop in operations.cc) its Gloo contexts live on, and with
    them their sockets; and the loop of one that `scripts/install` did not build goes on where a collective failed.
    Another worker, for whom it is not the lost worker's turn in a ring but ours, sees nothing wrong with them and would
    wait for as long as Gloo does, three minutes under `hvdtrain launch`, while we wait for it.
    """
    for file in list(Path("/dev/fd").iterdir()):
        with suppress(OSError):
            if file.is_socket():
                with socket.socket(fileno=os.dup(int(file.name))) as connection:
                    if connection.family in (socket.AF_INET, socket.AF_INET6):
                        connection.getpeername()  # one that only listens has none, which is an OSError
                        connection.shutdown(socket.SHUT_RDWR)


def _own_address() -> str:
    """Return the address of the interface that the job uses, or nothing where it was told none.

    The service by which a worker learns of new hosts unpickles what it is sent, and would listen on all addresses.
    """
    interface = os.environ.get("HOROVOD_GLOO_IFACE", "")
    own = psutil.net_if_addrs().get(interface, [])
    return next((one.address for one in own if one.family.name == "AF_INET"), "")


def _server(make: Callable[[tuple[str, int]], Any], address: str) -> tuple[Any, int]:
    server = make((address, 0))
    return server, server.socket.getsockname()[1]
