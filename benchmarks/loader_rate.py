"""What the loader delivers alone, against what the model consumes: tokens/s of one worker with one thread.

    python benchmarks/loader_rate.py --recipe bench/gpt-7m --rounds 5 --write

A round times a block of batches of the recipe's loader and nothing else, then a block of training steps, which take
batches of the same kind; every other round the other way round. The ratio is the loader's tokens/s over the model's.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

RESULTS = Path(__file__).parent / "results"
CHANGES = ("train.threads_per_worker=1", "train.max_steps=1000000")


def rate(tokens: int, count: int, work: Callable[[], object]) -> float:
    """Return the tokens/s of doing something `count` times that takes so many tokens each time."""
    began = time.perf_counter()
    for _ in range(count):
        work()
    return tokens * count / (time.perf_counter() - began)


def measure(recipe: str, changes: Sequence[str], rounds: int, batches: int, steps: int) -> list[dict[str, float]]:
    """Return for each round the tokens/s of the loader alone and those of training."""
    from hvdtrain import world as worlds
    from hvdtrain.data.loader import make_loader
    from hvdtrain.recipe import load
    from hvdtrain.train.assemble import assemble
    from hvdtrain.train.interrupt import Interrupt

    run = assemble(load(recipe, [*CHANGES, *changes]).recipe, worlds.Solo(), Interrupt())
    tokens = run.batch.global_batch_size * run.loop.task.targets_per_sample
    loader = make_loader(
        run.data.train,
        run.recipe.data.partition,
        seed=run.recipe.seed,
        rank=0,
        size=1,
        epochs=None,
        global_batch_size=run.batch.global_batch_size,
        micro_batch_size=run.batch.micro_batch_size,
    )
    updates = run.loop.updates()
    for _ in range(3):
        next(loader), next(updates)
    found = []
    for number in range(rounds):
        sides = {
            "loader": lambda: rate(tokens, batches, lambda: next(loader)),
            "training": lambda: rate(tokens, steps, lambda: next(updates)),
        }
        found.append({side: sides[side]() for side in (list(sides)[:: -1 if number % 2 else 1])})
        run.loop.stopwatch.pause()
        run.loop.stopwatch.drain()
    return found


def summary(rounds: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Return the medians over rounds with their ranges."""
    values = {side: [one[side] for one in rounds] for side in ("loader", "training")}
    values["ratio"] = [one["loader"] / one["training"] for one in rounds]
    return {name: {"median": median(each), "range": [min(each), max(each)]} for name, each in values.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="bench/gpt-7m")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, default=500, help="of the loader in a round")
    parser.add_argument("--steps", type=int, default=10, help="of training in a round")
    parser.add_argument("--write", action="store_true", help="keep the result in benchmarks/results")
    parser.add_argument("changes", nargs="*", help="of the recipe")
    asked = parser.parse_args()
    rounds = measure(asked.recipe, asked.changes, asked.rounds, asked.batches, asked.steps)
    found = summary(rounds)
    for name, unit in (("loader", " tokens/s"), ("training", " tokens/s"), ("ratio", "")):
        one = found[name]
        low, high = one["range"]
        print(f"{name}: {one['median']:,.0f}{unit} ({low:,.0f} to {high:,.0f}, {len(rounds)} rounds)")
    if asked.write:
        write(asked, found, rounds)


def write(asked: argparse.Namespace, found: dict[str, Any], rounds: list[dict[str, float]]) -> None:
    from peers.prepare import hardware, versions

    changes = "".join(f" {change}" for change in asked.changes)
    values = {
        "benchmark": "loader_rate",
        "date": date.today().isoformat(),
        "command": f"python benchmarks/loader_rate.py --recipe {asked.recipe} --rounds {asked.rounds} "
        f"--batches {asked.batches} --steps {asked.steps}{changes}",
        "hardware": hardware(),
        "versions": versions(("torch", "numpy", "hvdtrain")),
        "recipe": [asked.recipe, *CHANGES, *asked.changes],
        "found": found,
        "rounds": rounds,
    }
    path = RESULTS / f"loader-rate-{Path(asked.recipe).name}-{date.today()}.json"
    path.write_text(json.dumps(values, indent=1) + "\n")
    print(f"written: benchmarks/results/{path.name}")


if __name__ == "__main__":
    main()
