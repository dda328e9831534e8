"""Where measured runs go: the options of `scale`, `tune` and `estimate` that say so."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from hvdtrain.errors import UserError

if TYPE_CHECKING:
    from hvdtrain.scaling.sweep.plan import Cores
    from hvdtrain.scaling.trial import Place


def make_place(hosts: str | None, hostfile: Path | None, gloo: bool, mpi: bool, flags: Mapping[str, Any]) -> Place:
    """Return where trials run, from the options that say so.

    Raises:
        UserError: options exclude each other, or name no hosts.
    """
    from hvdtrain.launch.hosts import parse_hosts, read_hostfile
    from hvdtrain.scaling.trial import Place

    if gloo and mpi:
        raise UserError("--gloo and --mpi exclude each other")
    if hosts is not None and hostfile is not None:
        raise UserError("-H and --hostfile exclude each other")
    named = parse_hosts(hosts) if hosts is not None else read_hostfile(hostfile) if hostfile is not None else ()
    return Place(named, "gloo" if gloo else "mpi" if mpi else None, {k: v for k, v in flags.items() if v is not None})


def parse_numbers(text: str) -> list[int]:
    """Return the numbers of workers in `1,2,4`.

    Raises:
        UserError: something in it is no whole number.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise UserError(f"--np {text}: expected whole numbers with commas between them, such as 1,2,4")
    return sorted({int(part) for part in parts})


def count_cores(place: Place, *, check: bool) -> Cores:
    """Return the cores of each host; with `check` after a look at whether the hosts can work together, else each is
    taken to have as many cores as workers.

    Raises:
        UserError: they can't; names the host and what to do.
    """
    from hvdtrain.launched import usable_cores
    from hvdtrain.scaling.sweep.plan import Cores

    if not place.hosts:
        return Cores({"": usable_cores()})
    if not check:
        return Cores({host.name: host.slots for host in place.hosts})
    from hvdtrain.launch.preflight import preflight

    found = preflight(place.hosts, place.controller, place.flags)
    for warning in found.warnings:
        typer.echo(f"warning: {warning}", err=True)
    return Cores({fact.name: fact.cores for fact in found.hosts})
