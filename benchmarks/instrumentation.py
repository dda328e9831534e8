"""What timing each part of each step costs: blocks of steps with the stopwatch and without it, in turn, in one process.

    python benchmarks/instrumentation.py --rounds 10 --steps 20 --write

The ratio is time without over time with, by pairs of neighbouring blocks: 1 means that timing costs nothing.
"""

from __future__ import annotations

import argparse
import json
import time
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

from hvdtrain import world as worlds
from hvdtrain.recipe import load
from hvdtrain.report.environment import processor
from hvdtrain.train.assemble import assemble
from hvdtrain.train.interrupt import Interrupt

RECIPE = "gpt-shakespeare"
CHANGES = ["train.precision=fp32", "train.threads_per_worker=1", "train.max_steps=1000000"]
SMALL = ["model.d_model=64", "model.n_layers=2", "train.micro_batch_size=1", "data.max_seq_len=32"]


class NoStopwatch:
    """Takes every call and looks at no clock."""

    def start(self) -> None: ...

    def mark(self, part: str) -> None: ...

    def pause(self) -> None: ...


def ratios(changes: list[str], rounds: int, steps: int) -> list[float]:
    """Return for each round the seconds of a block without the stopwatch over those of one with it."""
    run = assemble(
        load(RECIPE, [*CHANGES, *changes, "train.global_batch_size=null"]).recipe, worlds.Solo(), Interrupt()
    )
    loop: Any = run.loop
    updates, watch = loop.updates(), loop.stopwatch
    for _ in range(5):
        next(updates)
    found = []
    for number in range(rounds):
        took = {}
        for instrumented in (True, False) if number % 2 else (False, True):
            loop.stopwatch = watch if instrumented else NoStopwatch()
            began = time.perf_counter()
            for _ in range(steps):
                next(updates)
            took[instrumented] = time.perf_counter() - began
            loop.stopwatch.pause()
        watch.drain()
        found.append(took[False] / took[True])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--write", action="store_true", help="keep the result in benchmarks/results")
    asked = parser.parse_args()
    found = {
        "the demo": ratios([], asked.rounds, asked.steps),
        "steps of some milliseconds": ratios(SMALL, asked.rounds, 25 * asked.steps),
    }
    for name, values in found.items():
        print(f"{name}: {median(values):.4f} ({min(values):.4f} to {max(values):.4f}, {len(values)} pairs)")
    if asked.write:
        path = Path(__file__).parent / "results" / f"instrumentation-{date.today()}.json"
        command = f"python benchmarks/instrumentation.py --rounds {asked.rounds} --steps {asked.steps}"
        values = {"command": command, "date": str(date.today()), "processor": processor(), "ratios": found}
        path.write_text(json.dumps(values, indent=1) + "\n")
        print(f"written: {path}")


if __name__ == "__main__":
    main()
