"""Several cases in one launch: workers take seconds to start, and most cases only tenths of one.

A script's argument is a JSON object of cases: what each is called, and its options. Each worker prints of each case
that it holds, or what does not, in lines that name it; `Launches` of conftest.py starts the script and looks for them.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from hvdtrain.world import World


class Case:
    """What a case has shown on this worker."""

    def __init__(self) -> None:
        self.problem = ""

    @contextmanager
    def check(self) -> Iterator[None]:
        """Keep the first assertion that fails, and let the case go on: its collectives need every worker.

        Any other error ends all workers, with the cases that are not done.
        """
        try:
            yield
        except AssertionError:
            self.problem = self.problem or traceback.format_exc()


def run(world: World, work: Callable[[Case, Any], None]) -> None:
    """Do `work` for each case in turn, and leave the world; where a case failed, so does this process."""
    failed = False
    for name, options in json.loads(sys.argv[1]).items():
        case = Case()
        work(case, options)
        failed |= bool(case.problem)
        told = [f"on worker {world.rank}: {line}" for line in case.problem.splitlines()]
        for line in told or [f"holds on worker {world.rank}"]:
            print(f"case {name} {line}", flush=True)
    # The first to fail ends all: none goes before all have said everything.
    failed = any(world.gather(failed))
    world.close()
    sys.exit(failed)
