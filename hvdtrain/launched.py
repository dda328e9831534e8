"""What a launcher (horovodrun, mpirun, srun) told this process about its place, known before anything is imported."""

from __future__ import annotations

import os

_SIZE_VARIABLES = ("HOROVOD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMIX_SIZE")
_RANK_VARIABLES = ("HOROVOD_RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK")


def launched_size() -> int:
    """Return the number of workers that the launcher of this process announced; 1 where there was none."""
    return _first(_SIZE_VARIABLES, 1)


def launched_rank() -> int:
    """Return the rank that the launcher gave this process; 0 where there was none."""
    return _first(_RANK_VARIABLES, 0)


def _first(variables: tuple[str, ...], default: int) -> int:
    return int(next((os.environ[name] for name in variables if os.environ.get(name)), default))
