"""The environment that Horovod's engine reads as it starts, where what was asked for is not what it may have."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_FUSION, _CYCLE = "HOROVOD_FUSION_THRESHOLD", "HOROVOD_CYCLE_TIME"


@contextmanager
def environment(hvd: Any, *, elastic: bool, fuses: bool) -> Iterator[None]:
    """Set what an engine that is started in this context has for its fusion threshold and its cycle time.

    Args:
        elastic: whether it is one that may start anew.
        fuses: whether it is to fuse tensors; otherwise its threshold is 0, whatever was asked for.
    """
    asked = {name: os.environ.get(name) for name in (_FUSION, _CYCLE)}
    if not fuses:
        os.environ[_FUSION] = "0"
    if elastic and not starts_anew(hvd):
        os.environ.pop(_CYCLE, None)
    try:
        yield
    finally:
        for name, value in asked.items():
            if value is not None:
                os.environ[name] = value
            else:
                os.environ.pop(name, None)


def starts_anew(hvd: Any) -> bool:
    """Return whether the engine can start anew with a cycle time that was set, as that of `scripts/install` can.

    0.28.1 as it was released can't (BayesianParameter::SetValue in its parameter_manager.cc): a cycle time makes the
    fusion threshold another one than it is in workers that start for the first time, which then fuse what the others do
    not, and with a threshold too it crashes.
    """
    return hasattr(hvd.mpi_ops._basics.MPI_LIB_CTYPES, "horovod_starts_anew")
