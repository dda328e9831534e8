"""hvdtrain against what its user would pick instead: tokens/s and peak memory of each, interleaved, in one run.

    python benchmarks/compare_peers.py --rounds 5 --write
    python benchmarks/compare_peers.py --recipes bench/gpt-7m --precisions fp32 --sides hvdtrain ddp_identical

It makes an environment of its own with pip (--environment) and measures there, whatever Python starts it. All sides
take the same number of tokens a step, on workers of one thread each, with AdamW and clipping:

    hvdtrain         hvdtrain launch RECIPE: sync.name allreduce with all knobs `auto`, MPI where Horovod has it
    hvdtrain_gloo    the same with --gloo: the transport that DDP has on CPUs
    ddp_identical    PyTorch DDP (Gloo) around the same module: same weights, batches, loss, fused AdamW, clipping, and
                     the same setting of the C library's allocator
    ddp_bucket_view  the same with gradient_as_bucket_view=True (only where --sides names it)
    ddp_plain        as products: a plain DDP script with a plain GPT of the same sizes and PyTorch's defaults
    hf_trainer       as products: Hugging Face's Trainer with a GPT-2 of the same sizes
    lightning_ddp    as products: Lightning's Trainer with that GPT-2

A side's figure in a round is the median tokens/s over its windows of steps after the first; a window's is the tokens of
all workers over the slowest worker's wall time. A result is the median over rounds of hvdtrain's figure over the other
side's in the same round, with the range. Memory is the peak resident set (VmHWM) of the worker that has the highest,
up to the end of training. Every other round runs the other way round.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

from peers import environment
from peers.result import GLOO, OURS, SIDES, Case, Measured, summary, table

HERE = Path(__file__).resolve().parent
EVERYDAY = tuple(side for side in SIDES if side != "ddp_bucket_view")
LENGTHS = {"bench/gpt-7m": (60, 10), "bench/gpt-50m": (20, 4)}
"""Steps of a run and of a window. Of larger models fewer are enough: their steps vary less."""
PACKAGES = ("torch", "horovod", "hvdtrain", "transformers", "lightning", "accelerate")


def main() -> None:
    asked = parse()
    if asked.install:
        environment.enter(asked.environment)
    cases = [Case(recipe, precision) for recipe in asked.recipes for precision in asked.precisions]
    rounds: list[dict[Case, dict[str, Measured]]] = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(asked.rounds):
            rounds.append({})
            for case in cases:
                rounds[-1][case] = measure(case, order(sides_of(case, asked), number), Path(folder), asked)
                for line in said(number, case, rounds[-1][case]):
                    print(line, flush=True)
            result = results(rounds, asked)
            if asked.write:
                write(result, asked)
    print(table(result))


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--recipes", nargs="+", default=["bench/gpt-7m", "bench/gpt-50m"])
    parser.add_argument("--precisions", nargs="+", choices=["fp32", "bf16"], default=["fp32", "bf16"])
    parser.add_argument(
        "--sides", nargs="+", choices=SIDES, help="all but ddp_bucket_view; of 50 M parameters the three first"
    )
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--steps", type=int, help="of each run (60; of 50 M parameters 20)")
    parser.add_argument("--window", type=int, help="steps that are timed together (10; of 50 M parameters 4)")
    parser.add_argument("--controller", choices=["gloo", "mpi"], help="of hvdtrain; else what horovodrun chooses")
    parser.add_argument("--override", action="append", default=[], metavar="KEY=VALUE", help="change to the recipe")
    parser.add_argument("--environment", type=Path, default=environment.default_folder(), metavar="DIR",
                        help="where the peers are installed (%(default)s)")  # fmt: skip
    parser.add_argument("--no-install", dest="install", action="store_false", help="measure with this Python as it is")
    parser.add_argument("--write", action="store_true", help="keep the result in benchmarks/results")
    asked = parser.parse_args(arguments)
    if asked.sides and OURS not in asked.sides:
        parser.error(f"--sides: {OURS} must be among them, as the others are held against it")
    for recipe in asked.recipes:
        steps, window = length(recipe, asked)
        if window < 1 or steps % window or steps < 2 * window:
            parser.error(
                f"{recipe}: {steps} steps must be two or more whole windows of {window}; the first is left out"
            )
    return asked


def length(recipe: str, asked: argparse.Namespace) -> tuple[int, int]:
    """Return the steps of a run and of a window."""
    steps, window = LENGTHS.get(recipe, LENGTHS["bench/gpt-7m"])
    return asked.steps or steps, asked.window or window


def sides_of(case: Case, asked: argparse.Namespace) -> list[str]:
    """Return the sides of a case, hvdtrain's first."""
    chosen = asked.sides or (EVERYDAY if case.recipe == "bench/gpt-7m" else EVERYDAY[:3])
    return [side for side in SIDES if side in chosen]


def order(sides: Sequence[str], number: int) -> list[str]:
    """Return the sides in the order of a round: every other one goes the other way."""
    return list(sides[:: -1 if number % 2 else 1])


def measure(case: Case, sides: Sequence[str], folder: Path, asked: argparse.Namespace) -> dict[str, Measured]:
    """Run each side once."""
    from peers.prepare import prepare_work

    steps, window = length(case.recipe, asked)
    overrides = [f"train.precision={case.precision}", "train.threads_per_worker=1", *asked.override]
    work = prepare_work(case.recipe, overrides, steps, window, asked.workers, folder)
    found = {}
    for side in sides:
        with tempfile.TemporaryDirectory(dir=folder) as out:
            one = replace(work, out=out)
            if side in (OURS, GLOO):
                controller = "gloo" if side == GLOO else asked.controller
                found[side] = ours(case.recipe, overrides, one, controller)
            else:
                found[side] = peer(side, one)
    return found


def ours(recipe: str, overrides: Sequence[str], work: Any, controller: str | None) -> Measured:
    """Run `hvdtrain launch`, with what horovodrun chooses where no controller is named."""
    from peers.watching import run

    metrics = Path(work.out) / "run" / "metrics.jsonl"
    changes = [f"output_dir={metrics.parent}", f"train.max_steps={work.steps}", f"train.log_interval={work.window}",
               "train.eval_interval=0", "train.save_interval=0"]  # fmt: skip
    flags = [f"--{controller}"] if controller else []
    launch = ["launch", "-np", str(work.workers), *flags, "--plain", "--resume", "never", recipe]

    def steps() -> list[dict[str, Any]]:
        records = map(json.loads, metrics.read_text().splitlines()) if metrics.exists() else ()
        return [record for record in records if record["event"] == "step"]

    def finished() -> bool:
        return len(steps()) == work.steps // work.window

    _, peaks = run([sys.executable, "-m", "hvdtrain", *launch, *overrides, *changes], variables(), finished)
    taken = steps()
    return Measured([one["tokens_per_second"] for one in taken][1:], max(peaks), [one["loss"] for one in taken])


def peer(side: str, work: Any) -> Measured:
    """Run a peer under torchrun."""
    from peers.watching import run
    from peers.work import rates

    out = Path(work.out)
    work.write(out / "work.json")
    script, *flags = {"ddp_bucket_view": ["ddp_identical", "--bucket-view"]}.get(side, [side])
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(work.workers)]
    command = [sys.executable, *torchrun, str(HERE / "peers" / f"{script}.py"), str(out / "work.json"), *flags]
    files = [out / f"windows-{rank}.json" for rank in range(work.workers)]
    printed, peaks = run(command, variables(), lambda: all(file.exists() for file in files))
    if not all(file.exists() for file in files):
        raise RuntimeError(f"{side}: ended without having done {work.steps} steps\n{printed[-4000:]}")
    losses = out / "losses.json"
    seconds = [json.loads(file.read_text()) for file in files]
    return Measured(rates(work, seconds)[1:], max(peaks), json.loads(losses.read_text()) if losses.exists() else [])


def variables() -> dict[str, str]:
    """Return the environment of every side: this one's, but one thread a worker, and nothing that steers the engine."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HOROVOD_", "OMPI_", "RANK"))}
    beside = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}"
    return kept | {"PATH": beside, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"}


def said(number: int, case: Case, found: Mapping[str, Measured]) -> list[str]:
    """Return what a round says of a case, a line for each side."""
    us = found[OURS]
    return [
        f"round {number + 1}, {case.recipe}, {case.precision}: {side:<15} {median(one.rates):9,.0f} tokens/s, "
        f"{one.peak / 1e6:5,.0f} MB; hvdtrain has {median(us.rates) / median(one.rates):.3f} and "
        f"{us.peak / one.peak:.3f} times that"
        for side, one in found.items()
    ]


def results(rounds: Sequence[Mapping[Case, Mapping[str, Measured]]], asked: argparse.Namespace) -> dict[str, Any]:
    """Return what is kept of a comparison."""
    from peers.prepare import hardware, versions

    return {
        "benchmark": "compare_peers",
        "date": date.today().isoformat(),
        "command": f"python benchmarks/compare_peers.py {' '.join(given(sys.argv[1:]))}".strip(),
        "hardware": hardware(),
        "python": platform.python_version(),
        "versions": versions(PACKAGES),
        "workers": asked.workers,
        "threads_per_worker": 1,
        "lengths": {recipe: length(recipe, asked) for recipe in asked.recipes},
        "controller": asked.controller or "what horovodrun chooses",
        "overrides": asked.override,
        "cases": [summary(case, [one[case] for one in rounds]) for case in rounds[0]],
    }


def given(arguments: Sequence[str]) -> list[str]:
    """Return the arguments that change what is measured: where the peers are installed does not."""
    at = arguments.index("--environment") if "--environment" in arguments else len(arguments)
    return [*arguments[:at], *arguments[at + 2 :]]


def write(result: Mapping[str, Any], asked: argparse.Namespace) -> None:
    """Keep the result, under the date and what was compared."""
    what = "-".join([*(Path(recipe).name for recipe in asked.recipes), *asked.precisions])
    path = HERE / "results" / f"peers-{result['date']}-{what}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(f"written: {path.relative_to(HERE.parent)}", flush=True)


if __name__ == "__main__":
    try:
        main()
    except RuntimeError as error:  # a side failed: what it said is what there is to say
        sys.exit(str(error))
