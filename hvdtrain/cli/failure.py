"""How a deliberate error leaves the process: one message, once for all workers, and its exit code."""

from __future__ import annotations

import os
import sys
import time
from typing import NoReturn

import typer

from hvdtrain.errors import HvdtrainError, LostWorkerError
from hvdtrain.launched import launched_rank, launched_size
from hvdtrain.report import events

# Long enough for the launcher, which ends all workers when one has failed, to end those that only repeat its message.
_SECONDS_FOR_LAUNCHER = 4.0


def fail(error: HvdtrainError) -> NoReturn:
    """Print the error and exit with its code.

    An error that the workers share is worker 0's to tell. Otherwise a worker speaks for itself, but one that lost
    another, or may repeat what worker 0 says, first gives the launcher the time to end it.
    """
    if launched_size() > 1 and (isinstance(error, LostWorkerError) or launched_rank() != 0):
        time.sleep(_SECONDS_FOR_LAUNCHER if isinstance(error, LostWorkerError) else _SECONDS_FOR_LAUNCHER / 2)
    if not (error.shared and launched_rank() != 0):
        _say(error)
    # Not sys.exit: Horovod's shutdown at exit waits for workers that may be gone.
    os._exit(error.exit_code)


def give_up(error: HvdtrainError) -> NoReturn:
    """Print the error at once, from a thread that watches a worker that hangs, and exit with its code."""
    _say(error)
    # The worker that is the cause gets time to say so, before the launcher ends all for this one's sake.
    time.sleep(_SECONDS_FOR_LAUNCHER if isinstance(error, LostWorkerError) else _SECONDS_FOR_LAUNCHER / 4)
    os._exit(error.exit_code)


def _say(error: HvdtrainError) -> None:
    if events.wanted():
        events.write_error(error, launched_rank())
    else:
        where = f"worker {launched_rank()}: " if launched_size() > 1 and launched_rank() != 0 else ""
        typer.echo(f"error: {where}{error}", err=True)
    sys.stdout.flush()
