"""What comparing the workers' models costs: the checksum of every parameter, and its exchange.

    horovodrun -np 2 --gloo python benchmarks/reliability/checksum_cost.py [--recipe bench/gpt-7m] [--rounds 20]

Each worker builds the recipe's model, and compares it with the others' as a run does before each evaluation and
checkpoint; `own` are the seconds of the checksums alone. The first round warms up. `share` is the median check over a
hundred updates, each as long as the median of a few. One line in benchmarks/results/reliability/checksum-cost.jsonl.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable
from statistics import median

from ledger import Ledger

from hvdtrain import world as worlds
from hvdtrain.recipe import load
from hvdtrain.train.assemble import assemble
from hvdtrain.train.interrupt import Interrupt
from hvdtrain.train.replicas import checksum

UPDATES = 8


def seconds(work: Callable[[], object], rounds: int) -> list[float]:
    """Return what each round took, the first left out."""
    marks = [time.perf_counter()]
    for _ in range(rounds + 1):
        work()
        marks.append(time.perf_counter())
    return [end - begin for begin, end in itertools.pairwise(marks)][1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="bench/gpt-7m")
    parser.add_argument("--rounds", type=int, default=20)
    asked = parser.parse_args()
    world = worlds.start({})
    loop = assemble(load(asked.recipe, ["train.threads_per_worker=1"]).recipe, world, Interrupt()).loop
    updates = loop.updates()
    step = seconds(lambda: next(updates), UPDATES)
    with loop.agreed():
        own = seconds(lambda: [checksum(parameter) for parameter in loop.model.parameters()], asked.rounds)
        whole = seconds(loop.check_replicas, asked.rounds)
    facts = {
        "recipe": asked.recipe,
        "workers": world.size,
        "parameters": sum(parameter.numel() for parameter in loop.model.parameters()),
        "own": median(own),
        "seconds": median(whole),
        "range": [min(whole), max(whole)],
        "step": median(step),
        "share": median(whole) / (100 * median(step)),
    }
    if world.rank == 0:
        Ledger("checksum-cost").add(**facts)
        print(facts)
    world.close()


if __name__ == "__main__":
    main()
