"""The flags that `hvdtrain launch` passes on to horovodrun as they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from hvdtrain.errors import UserError


@dataclass(frozen=True)
class Flag:
    """A flag of horovodrun: its spelling, what it takes, and what it does."""

    name: str
    kind: Literal["text", "whole", "number", "switch", "pair"]
    help: str
    group: str
    short: str | None = None

    @property
    def key(self) -> str:
        """Its name in Python."""
        return self.name.removeprefix("--").replace("-", "_")


_HOSTS, _ENGINE, _ELASTIC, _DEBUG = "Hosts and network", "Horovod's engine", "Elastic runs", "Looking inside"

FLAGS = (
    Flag("--network-interfaces", "text", "Interfaces to communicate over, with commas. One name on all hosts.", _HOSTS),
    Flag("--ssh-port", "whole", "Port of sshd on the other hosts.", _HOSTS, "-p"),
    Flag("--ssh-identity-file", "text", "Private key for the other hosts.", _HOSTS, "-i"),
    Flag("--start-timeout", "whole", "Seconds in which all workers must have started (30).", _HOSTS),
    Flag("--disable-cache", "switch", "Check hosts and network again, although that was done within the hour.", _HOSTS),
    Flag("--mpi-args", "text", 'Further arguments for mpirun: --mpi-args="--map-by ppr:6:node".', _HOSTS),
    Flag("--binding-args", "text", 'How mpirun binds workers to cores: --binding-args="--bind-to core".', _HOSTS),
    Flag("--tcp", "switch", "Communicate over TCP alone.", _HOSTS),
    Flag("--fusion-threshold-mb", "whole", "Gradients up to this many MiB share one all-reduce; 0: none do.", _ENGINE),
    Flag("--cycle-time-ms", "number", "How often the engine looks for gradients that are ready.", _ENGINE),
    Flag("--cache-capacity", "whole", "Tensor names that need no negotiation once seen (1024).", _ENGINE),
    Flag("--hierarchical-allreduce", "switch", "All-reduce within each host first.", _ENGINE),
    Flag("--hierarchical-allgather", "switch", "All-gather within each host first.", _ENGINE),
    Flag("--torus-allreduce", "switch", "Two-dimensional all-reduce, with NCCL.", _ENGINE),
    Flag("--num-nccl-streams", "whole", "NCCL streams (1).", _ENGINE),
    Flag("--thread-affinity", "whole", "Core of the engine's thread.", _ENGINE),
    Flag("--mpi-threads-disable", "switch", "Use MPI from one thread only.", _ENGINE),
    Flag("--gloo-timeout-seconds", "whole", "Seconds after which a Gloo operation fails (30).", _ENGINE),
    Flag("--autotune", "switch", "Let the engine search for its own best knobs while it trains.", _ENGINE),
    Flag("--autotune-log-file", "text", "Where to write what autotune tried.", _ENGINE),
    Flag("--min-np", "whole", "Go on with as few workers as this. Makes the run elastic.", _ELASTIC),
    Flag("--max-np", "whole", "Take in no more workers than this.", _ELASTIC),
    Flag("--host-discovery-script", "text", "A program that prints the hosts there are: host:slots a line.", _ELASTIC),
    Flag("--slots-per-host", "whole", "Slots where the program does not tell.", _ELASTIC),
    Flag("--elastic-timeout", "whole", "Seconds to wait for enough workers after a change (600).", _ELASTIC),
    Flag("--reset-limit", "whole", "Changes of the number of workers before the run is given up.", _ELASTIC),
    Flag(
        "--blacklist-cooldown-range",
        "pair",
        "Seconds (least, most) for which a host that failed is kept out.",
        _ELASTIC,
    ),
    Flag(
        "--timeline-filename", "text", "Record each operation into this file. Costs a core: never time with it.", _DEBUG
    ),
    Flag("--timeline-mark-cycles", "switch", "Mark the engine's cycles in it.", _DEBUG),
    Flag("--no-stall-check", "switch", "Do not warn of workers that wait for others.", _DEBUG),
    Flag("--stall-check-warning-time-seconds", "whole", "When to warn of them (60).", _DEBUG),
    Flag("--stall-check-shutdown-time-seconds", "whole", "When to end the run for it (0: never).", _DEBUG),
    Flag("--output-filename", "text", "Also write each worker's output into files of this folder.", _DEBUG),
    Flag("--log-level", "text", "What the engine logs: FATAL, ERROR, WARNING, INFO, DEBUG or TRACE.", _DEBUG),
    Flag("--config-file", "text", "A YAML file of any flags of horovodrun's, in its own form.", _DEBUG),
    Flag("--verbose", "switch", "Let horovodrun tell what it does.", _DEBUG),
)

_NOT_IN_TRIALS = ("--autotune", "--autotune-log-file", "--config-file")
TRIAL_FLAGS = tuple(flag for flag in FLAGS if flag.group in (_HOSTS, _ENGINE) and flag.name not in _NOT_IN_TRIALS)
"""Those that make sense for short measured runs: an engine that tunes itself changes while it is measured."""


def arguments(values: Mapping[str, Any]) -> list[str]:
    """Return horovodrun's arguments for the flags that were given.

    Args:
        values: by `Flag.key`; None where a flag was not given.

    Raises:
        UserError: a number is negative where horovodrun allows none.
    """
    given: list[str] = []
    for flag in FLAGS:
        value = values.get(flag.key)
        if value is None or (value is False and flag.kind == "switch"):
            continue
        if flag.kind in ("whole", "number") and value < 0:
            raise UserError(f"{flag.name} = {value}: must not be negative")
        if flag.kind == "switch":
            given.append(flag.name if value else f"--no-{flag.name.removeprefix('--')}")
        elif flag.kind == "pair":
            given += [flag.name, *(str(one) for one in value)]
        else:
            # With the equal sign also a value that begins with a dash is one.
            given.append(f"{flag.name}={value}")
    return given
