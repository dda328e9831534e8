"""Several cases in one launch: workers take seconds to start, and most cases only tenths of one.

A script's argument is a JSON object of cases: what each is called, and its options. Each worker keeps in a file of the
working directory what became of each case; `Launches` of conftest.py starts the script and reads them.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
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
    told: dict[str, str] = {}
    kept = Path(f"worker-{world.rank}.json")
    for name, options in json.loads(sys.argv[1]).items():
        case = Case()
        work(case, options)
        told[name] = case.problem
        # Whole at any time: where another worker breaks off, this one is killed.
        kept.with_suffix(".new").write_text(json.dumps(told))
        kept.with_suffix(".new").replace(kept)
    # The first to fail ends all: none goes before all have said everything.
    failed = any(world.gather(any(told.values())))
    world.close()
    sys.exit(failed)
