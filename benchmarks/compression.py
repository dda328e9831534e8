"""What compressing gradients costs and loses: loss after equal steps, bytes a step, and the CPU time of compressing.

    python benchmarks/compression.py [--recipe gpt-shakespeare] [--steps 120] [--workers 2] [--write]
                                     [--variants NAME ...] [OVERRIDE ...]

Every variant trains the same recipe with the same seed under horovodrun; the training loss is the mean over the last 20
updates. The time of compressing is the median CPU time of `synchronize()` in one process of one thread, with normal
random gradients of the recipe's model and a stand-in for the engine that hands back what it got, so that no network and
no waiting is in it; the all-reduce has no such time. Step times are not here: `hvdtrain compare` takes them. With
--write the result joins those of the day's other variants.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import date
from importlib.metadata import version
from pathlib import Path
from statistics import fmean, median
from typing import Any

VARIANTS: dict[str, dict[str, Any]] = {
    "allreduce": {"name": "allreduce"},
    "powersgd-4": {"name": "powersgd", "rank": 4},
    "powersgd-16": {"name": "powersgd", "rank": 16},
    "powersgd-4-later": {"name": "powersgd", "rank": 4, "start_step": 30},
    "topk-0.01": {"name": "topk", "density": 0.01},
    "topk-0.1": {"name": "topk", "density": 0.1},
    "topk-0.01-later": {"name": "topk", "density": 0.01, "start_step": 30},
}
LAST = 20


def trained(sync: dict[str, Any], options: argparse.Namespace) -> dict[str, float]:
    """Train the recipe with a strategy; return losses and the bytes of a step."""
    with tempfile.TemporaryDirectory() as folder:
        overrides = [
            f"output_dir={folder}/run",
            f"sync={json.dumps(sync)}",
            f"train.max_steps={options.steps}",
            f"train.eval_interval={options.steps}",
            "train.save_interval=0",
            "train.log_interval=1",
            "train.precision=fp32",
            "train.threads_per_worker=1",
            *options.override,
        ]
        environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
        command = ["horovodrun", "-np", str(options.workers), "--gloo", sys.executable, "-m", "hvdtrain", "train"]
        finished = subprocess.run(
            [*command, options.recipe, *overrides],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if finished.returncode:
            sys.exit(finished.stdout + finished.stderr)
        lines = [json.loads(line) for line in (Path(folder) / "run" / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if line["event"] == "step"]
    end = next(line for line in lines if line["event"] == "end")
    return {
        "train_loss": fmean(line["loss"] for line in steps[-LAST:]),
        "val_loss": end["metrics"]["loss"],
        "bytes_per_step": end["allreduce_bytes"],
    }


def compressing(sync: dict[str, Any], options: argparse.Namespace) -> dict[str, float]:
    """Return what compressing takes of a core, and the bytes of an update that compresses."""
    import torch

    from hvdtrain import world as worlds
    from hvdtrain.recipe import load
    from hvdtrain.registry import config_class
    from hvdtrain.sync._powersgd import PowerSGD, ranks
    from hvdtrain.sync._topk import TopK, counts
    from hvdtrain.train.assemble import assemble
    from hvdtrain.train.interrupt import Interrupt

    torch.set_num_threads(1)
    changes = ["train.precision=fp32", "train.threads_per_worker=1", *options.override]
    loop = assemble(load(options.recipe, changes).recipe, worlds.Solo(), Interrupt()).loop
    [run] = loop.phases
    config: Any = config_class("sync", sync["name"])(**(sync | {"start_step": 0}))
    kind: Any = PowerSGD if config.name == "powersgd" else TopK

    class Alone(kind):  # type: ignore[misc]
        """Hands a sum back as it is, and gathers as many of the same as there are workers."""

        def start_sum(self, values: torch.Tensor, what: str) -> torch.Tensor:
            self._handed += values.numel() * values.element_size()
            return values

        def start_gather(self, values: torch.Tensor, what: str) -> torch.Tensor:
            self._handed += values.numel() * values.element_size()
            return values.repeat(options.workers)

        def wait(self, handle: torch.Tensor) -> torch.Tensor:
            return handle

    chosen = (
        {"ranks": ranks(run.parameters, config.rank)}
        if kind is PowerSGD
        else {"counts": counts(run.parameters, config.density)}
    )
    world = worlds.Solo()
    world.size = options.workers
    strategy = Alone(run.strategy.optimizer, list(run.parameters), world, **chosen)
    seconds = []
    for _ in range(23):
        strategy.flat_grad.normal_()
        began = time.process_time()
        strategy.synchronize()
        seconds.append(time.process_time() - began)
    return {
        "compressing_cpu_seconds": median(seconds[3:]),
        "compressed_bytes": strategy.bytes_per_step,
        "gradient_bytes": strategy.flat_grad.numel() * strategy.flat_grad.element_size(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="gpt-shakespeare")
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--write", action="store_true", help="write the result to benchmarks/results/")
    parser.add_argument("override", nargs="*", help="changes to the recipe")
    options = parser.parse_args()
    path = Path(__file__).parent / "results" / f"compression-{options.recipe}-{date.today()}.json"
    found = json.loads(path.read_text())["variants"] if options.write and path.exists() else {}
    for name in options.variants:
        sync = VARIANTS[name]
        found[name] = {"sync": sync} | trained(sync, options)
        if name != "allreduce":
            found[name] |= compressing(sync, options)
        print(name, json.dumps(found[name]), flush=True)
        if options.write:
            write(path, found, options)


def write(path: Path, found: dict[str, Any], options: argparse.Namespace) -> None:
    from hvdtrain.report.environment import processor

    changes = "".join(f" {change}" for change in options.override)
    result = {
        "benchmark": "compression",
        "date": str(date.today()),
        "command": f"python benchmarks/compression.py --recipe {options.recipe} --steps {options.steps} "
        f"--workers {options.workers} --variants {' '.join(found)} --write{changes}",
        "hardware": f"{os.cpu_count()} cores, {processor()}",
        "versions": {name: version(name) for name in ("torch", "horovod")},
        "variants": {name: found[name] for name in VARIANTS if name in found},
    }
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
