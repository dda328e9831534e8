"""What this process is doing and since when: told by the thread that works, read by the one that watches it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Activity:
    """`what` is one thing that takes a while, such as "backward", or, where it `waits`, the tensor whose collective the
    other workers have to take part in; `since` is a reading of `time.monotonic`.
    """

    what: str
    since: float
    waits: bool = False


def begin(what: str) -> None:
    """Say what this process does from now on; called again, that it gets on with it."""
    global _current
    _current = Activity(what, time.monotonic())


@contextmanager
def waiting(tensor: str) -> Iterator[None]:
    """Say that this process waits for the other workers; after it it goes on with what it did before."""
    global _current
    before, _current = _current, Activity(tensor, time.monotonic(), waits=True)
    try:
        yield
    finally:
        begin(before.what)


def current() -> Activity:
    """Return what this process is doing."""
    return _current


_current = Activity("starting", time.monotonic())
