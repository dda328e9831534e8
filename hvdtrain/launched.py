"""The place of this process, known before anything is imported: its rank, how many there are, the cores it may use."""

from __future__ import annotations

import os
from pathlib import Path

_SIZE_VARIABLES = ("HOROVOD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE")
_RANK_VARIABLES = ("HOROVOD_RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK")


_joined: tuple[int, int] | None = None


def joined(rank: int, size: int) -> None:
    """Say which place this process has now: in an elastic job it changes, and the environment does not."""
    global _joined
    _joined = rank, size


def launched_size() -> int:
    """Return the number of workers that the launcher of this process announced; 1 where there was none."""
    if _joined is not None:
        return _joined[1]
    if "PMIX_RANK" in os.environ and not any(os.environ.get(name) for name in _SIZE_VARIABLES):
        return int(os.environ.get("SLURM_STEP_NUM_TASKS") or 1)  # srun --mpi=pmix tells the size in its own words
    return _first(_SIZE_VARIABLES, 1)


def launched_rank() -> int:
    """Return the rank that the launcher gave this process; 0 where there was none."""
    if _joined is not None:
        return _joined[0]
    return _first(_RANK_VARIABLES, 0)


def elastic() -> bool:
    """Return whether this process is a worker of an elastic job."""
    return os.environ.get("HOROVOD_ELASTIC") == "1"


def usable_cores(bound: int | None = None, cgroup: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Return the cores that may be used: the bound ones, by default this process's, less what a container's quota
    takes.
    """
    if bound is None:
        bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = cgroup.read_text(encoding="ascii").split()
        return max(1, min(bound, int(quota) // int(period)))
    except (OSError, ValueError, ZeroDivisionError):
        return bound  # No quota: "max", or another kind of system.


def _first(variables: tuple[str, ...], default: int) -> int:
    return int(next((os.environ[name] for name in variables if os.environ.get(name)), default))
