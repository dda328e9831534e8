"""How much of a core's matrix products a step reaches (MFU), and what each thing that was tried gives: in turns.

    OMP_NUM_THREADS=1 python benchmarks/compute.py --recipes bench/gpt-7m --rounds 3 --write

One worker with one thread trains through hvdtrain's own loop; each variant runs in a process of its own, and a round
runs all of them, every other round the other way round:

    shipped          hvdtrain as it is
    system memory    freed memory goes back to the system, as glibc does by itself
    huge pages       that, in pages of 2 MB where the kernel has them (GLIBC_TUNABLES=glibc.malloc.hugetlb=1)
    plain loss       torch.nn.functional.cross_entropy over the whole vocabulary instead of the one in place
    neither          system memory and the plain loss: a plain PyTorch script
    compiled         train.compile=true

The figures are medians over rounds, with their range: milliseconds of a step (the median step of a process), page
faults a step, peak resident set, and MFU, of the matrix product's peak in that precision, measured in each process.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

RESULTS = Path(__file__).parent / "results"
VARIANTS = ("shipped", "system memory", "huge pages", "plain loss", "neither", "compiled")
LENGTHS = {"bench/gpt-7m": 12, "bench/gpt-50m": 5}
"""Steps that are timed."""
WARMUP = 3


def work(recipe: str, precision: str, variant: str, steps: int) -> dict[str, float]:
    """Train in this process, and return what a step costs."""
    from hvdtrain import world as worlds
    from hvdtrain.recipe import load
    from hvdtrain.tasks import _cross_entropy, _language_modeling
    from hvdtrain.train import assemble as assembling
    from hvdtrain.train.interrupt import Interrupt
    from hvdtrain.train.peak import peak_flops

    if variant in ("system memory", "huge pages", "neither"):
        assembling.reuse_freed_memory = lambda: False
    if variant in ("plain loss", "neither"):
        _language_modeling.summed_cross_entropy = lambda logits, targets: _cross_entropy._plain(logits, targets, 0.0)
    compiled = ["train.compile=true"] if variant == "compiled" else []
    changes = [f"train.precision={precision}", "train.threads_per_worker=1", "train.max_steps=1000000", *compiled]
    run = assembling.assemble(load(recipe, changes).recipe, worlds.Solo(), Interrupt())
    updates, seconds = run.loop.updates(), []
    for _ in range(WARMUP):
        next(updates)
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(steps):
        began = time.perf_counter()
        next(updates)
        seconds.append(time.perf_counter() - began)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    step, tokens = median(seconds), run.batch.global_batch_size * run.loop.task.targets_per_sample
    peak = peak_flops(run.loop.device, precision)[0]
    return {
        "step_ms": step * 1e3,
        "page_faults": (usage.ru_minflt - faults) / steps,
        "peak_rss_mb": usage.ru_maxrss * 1024 / 1e6,
        "mfu": tokens * run.flops_per_token / step / peak,
        "peak_gflops": peak / 1e9,
    }


def launch(recipe: str, precision: str, variant: str, steps: int) -> dict[str, float]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    if variant == "huge pages":
        environment["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"
    command = [sys.executable, __file__, "--worker", variant, "--recipes", recipe, "--precisions", precision]
    done = subprocess.run(
        [*command, "--steps", str(steps)], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def summary(rounds: list[dict[str, dict[str, float]]]) -> dict[str, Any]:
    """Return each variant's figures, and its step over the shipped one's in the same round."""
    found: dict[str, Any] = {}
    for variant in rounds[0]:
        values = {key: [one[variant][key] for one in rounds] for key in rounds[0][variant]}
        values["of_shipped"] = [one[variant]["step_ms"] / one["shipped"]["step_ms"] for one in rounds]
        found[variant] = {
            key: {"median": median(each), "range": [min(each), max(each)]} for key, each in values.items()
        }
    return found


def table(recipe: str, precision: str, found: dict[str, Any]) -> list[str]:
    lines = []
    for variant, figures in found.items():
        middle = {key: figure["median"] for key, figure in figures.items()}
        low, high = figures["of_shipped"]["range"]
        lines.append(
            f"| {recipe} | {precision} | {variant} | {middle['step_ms']:,.0f} ms | {middle['of_shipped']:.3f} "
            f"({low:.3f} to {high:.3f}) | {middle['page_faults']:,.0f} | {middle['peak_rss_mb']:,.0f} MB | "
            f"{middle['mfu']:.0%} of {middle['peak_gflops']:,.0f} GFLOP/s |"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", nargs="+", default=["bench/gpt-7m", "bench/gpt-50m"])
    parser.add_argument("--precisions", nargs="+", choices=["fp32", "bf16"], default=["fp32", "bf16"])
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, help="that are timed (12; of 50 M parameters 5)")
    parser.add_argument("--write", action="store_true", help="keep the result in benchmarks/results")
    parser.add_argument("--worker", choices=VARIANTS, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.worker:
        print(json.dumps(work(asked.recipes[0], asked.precisions[0], asked.worker, asked.steps)))
        return
    variants = ["shipped", *(variant for variant in asked.variants if variant != "shipped")]
    print("| recipe | precision | variant | step | of shipped | page faults | peak memory | MFU |", flush=True)
    print("|---|---|---|---|---|---|---|---|", flush=True)
    cases = []
    for recipe in asked.recipes:
        for precision in asked.precisions:
            rounds = []
            for number in range(asked.rounds):
                order = variants[:: -1 if number % 2 else 1]
                steps = asked.steps or LENGTHS.get(recipe, 12)
                taken = {variant: launch(recipe, precision, variant, steps) for variant in order}
                rounds.append({variant: taken[variant] for variant in variants})
            found = summary(rounds)
            print("\n".join(table(recipe, precision, found)), flush=True)
            cases.append({"recipe": recipe, "precision": precision, "found": found, "rounds": rounds})
    if asked.write:
        write(cases)


def write(cases: list[dict[str, Any]]) -> None:
    from peers.prepare import hardware, versions

    result = {
        "benchmark": "compute",
        "date": date.today().isoformat(),
        "command": f"python benchmarks/compute.py {' '.join(sys.argv[1:])}",
        "hardware": hardware(),
        "versions": versions(("torch", "hvdtrain")),
        "cases": cases,
    }
    path = RESULTS / f"compute-{date.today()}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(f"written: benchmarks/results/{path.name}")


if __name__ == "__main__":
    main()
