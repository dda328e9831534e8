"""Every error that hvdtrain raises on purpose; the command line turns each into one message and an exit code.

HvdtrainError
├── UserError            exit 2: something the user can mend before anything runs
│   ├── RecipeError      a recipe, or an override of one
│   ├── DataError        a data set, a file of it, or its cache
│   ├── CheckpointError  a checkpoint that is missing, damaged, or of another run
│   └── SetupError       the machine: Horovod, permissions, hosts, hardware
└── RunError             exit 1: a run that began and failed
    ├── NonFiniteError   a loss or a gradient that is not a number
    ├── DivergedError    workers whose models should be alike and are not
    ├── HangError        a worker that got on with nothing
    └── LostWorkerError  another worker ended first; its own message tells why
        └── WaitError    another worker does not come to a collective
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import TypeVar


class HvdtrainError(Exception):
    """Base of every deliberate error; `str(error)` is the whole message.

    `shared` says that all workers raised it together.
    """

    exit_code = 1
    shared = False


E = TypeVar("E", bound=HvdtrainError)


class UserError(HvdtrainError):
    """Something the user can mend before anything runs."""

    exit_code = 2


class RecipeError(UserError):
    """A recipe, or an override of one, is wrong; the message lists every problem found."""


class DataError(UserError):
    """A data set, a file of it, or its cache is missing, empty or damaged."""


class CheckpointError(UserError):
    """A checkpoint is missing, damaged, or belongs to another run."""


class SetupError(UserError):
    """The machine lacks something: Horovod, permissions, hosts, hardware."""


class RunError(HvdtrainError):
    """A run that began and failed."""


class NonFiniteError(RunError):
    """A loss or a gradient is infinite or not a number."""


class DivergedError(RunError):
    """Workers that should have the same model have not."""


class LostWorkerError(RunError):
    """Another worker ended first; what it printed tells why."""


class HangError(RunError):
    """One thing took longer than the recipe allows."""


class WaitError(LostWorkerError):
    """Another worker did not come to a collective in the time that the recipe allows."""


def shared(error: E) -> E:
    """Return the error, marked as one that all workers raise together."""
    error.shared = True
    return error


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `"; did you mean 'x'?"` for the closest of the known names, or an empty string where none is close."""
    matches = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean '{matches[0]}'?" if matches else ""
