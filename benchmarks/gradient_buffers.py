"""What keeping gradients in buckets saves: ways to all-reduce one model's gradients, in turns within one launch.

    python benchmarks/gradient_buffers.py [--cycles 5 10 20] [--rounds 5] [--steps 8] [--controller gloo] [--write]

Two workers of one thread train the GPT of recipes/bench/gpt-7m.yaml on random tokens in fp32. Each round runs a block
of steps of every side, in alternating order, for each of the engine's cycle times in launches of their own:

    floor      no synchronisation
    wait       an all-reduce of four numbers after backward: what waiting for the other worker costs
    ddp        PyTorch DDP, on Gloo whatever Horovod's controller is
    horovod    hvd.DistributedOptimizer on the model's parameters: fused by the engine as they come; in a launch with
               a floor of its own, because in the other one the engine does not fuse
    bucket-N   sync.name: allreduce of this project, buckets of N MB

The result is the median step of each side, and the median and range over rounds of its ratio to the floor's. The engine
runs in all of them, idle where a side does not use it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from datetime import date
from importlib.metadata import version
from pathlib import Path
from statistics import median

BUCKETS = ("floor", "wait", "ddp", "bucket-8", "bucket-16", "bucket-32")
FUSED = ("floor", "horovod")
"""The engine's fusion is on or off for a whole launch: buckets are not to be fused once more."""
VOCABULARY, LENGTH, MICRO = 8192, 128, 8


class Side:
    """A model and its optimizer, updated in one of the ways."""

    def __init__(self, side: str, world, meeting: str) -> None:
        import torch
        from torch.nn.parallel import DistributedDataParallel

        from hvdtrain.models._spec import DataSpec
        from hvdtrain.recipe import load
        from hvdtrain.registry import find

        torch.manual_seed(0)
        self.side, self.world, self.strategy = side, world, None
        self.model = find("models", "gpt").build(load("bench/gpt-7m").recipe.model, DataSpec(VOCABULARY, LENGTH))
        self.tokens = torch.randint(VOCABULARY, (MICRO, LENGTH + 1))
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4, fused=True)
        self.updated = list(self.model.parameters())
        if side == "ddp":
            at = {"rank": world.rank, "world_size": world.size}
            torch.distributed.init_process_group("gloo", init_method=f"file://{meeting}", **at)
            self.model = DistributedDataParallel(self.model)
        elif side == "horovod":
            self.wrap_by_horovod()
        elif side.startswith("bucket"):
            self.wrap_in_buckets(int(side.split("-")[1]))

    def named(self):
        return [(f"{self.side}.{name}", p) for name, p in self.model.named_parameters()]

    def wrap_by_horovod(self) -> None:
        import horovod.torch as hvd

        self.optimizer = hvd.DistributedOptimizer(self.optimizer, named_parameters=self.named(), op=hvd.Sum)

    def wrap_in_buckets(self, megabytes: int) -> None:
        from hvdtrain.registry import config_class
        from hvdtrain.sync import wrap

        os.environ["HOROVOD_FUSION_THRESHOLD"] = str(megabytes * 2**20)
        config = config_class("sync", "allreduce")(name="allreduce")
        options = {"named_parameters": self.named(), "backward_passes_per_step": 1, "world": self.world}
        self.strategy = wrap(config, self.optimizer, **options)
        self.updated = self.strategy.parameters

    def synchronize(self) -> None:
        """Wait for the gradients' sums, in the way that leaves the core to the engine."""
        import torch

        from hvdtrain.world import rest_until_done

        if self.strategy is not None:
            self.strategy.synchronize()
        elif self.side == "horovod":
            rest_until_done([handle for handle, _ in self.optimizer._handles.values()], "gradients")
            self.optimizer.synchronize()
        elif self.side == "wait":
            self.world.start_sum(torch.zeros(4), "wait").wait()

    def step(self) -> None:
        """Take one update: forward, backward, synchronisation, clipping, optimizer."""
        import torch
        import torch.nn.functional as F

        logits = self.model(self.tokens[:, :-1])
        F.cross_entropy(logits.flatten(0, 1), self.tokens[:, 1:].flatten()).backward()
        self.synchronize()
        norm = torch.nn.utils.get_total_norm([p.grad for p in self.updated])
        torch.nn.utils.clip_grads_with_norm_(self.updated, 1.0, norm)
        if self.strategy is not None:
            self.strategy.step(None)
            self.strategy.zero_grad()
            return
        with self.optimizer.skip_synchronize() if self.side == "horovod" else nullcontext():
            self.optimizer.step()
        self.optimizer.zero_grad()


def work(names: list[str], rounds: int, steps: int, meeting: str) -> None:
    """Run all sides on this worker; the first one prints the seconds of their steps."""
    import torch

    from hvdtrain import world as worlds
    from hvdtrain.train.allocator import reuse_freed_memory

    torch.set_num_threads(1)
    knobs = {"HOROVOD_FUSION_THRESHOLD": str(32 * 2**20), "OMPI_MCA_mpi_yield_when_idle": "1"}
    world = worlds.start(knobs, fuses="horovod" in names)
    reuse_freed_memory()
    sides = {side: Side(side, world, meeting) for side in names}
    seconds: dict[str, list[float]] = {side: [] for side in names}
    for number in range(rounds + 1):
        for side in names if number % 2 else names[::-1]:
            world.gather(None)
            took = []
            for _ in range(steps):
                start = time.perf_counter()
                sides[side].step()
                took.append(time.perf_counter() - start)
            if number:  # the first round warms up
                seconds[side].append(median(took))
    if world.rank == 0:
        print(json.dumps({"seconds": seconds}), flush=True)
    world.close()


def launch(names: tuple[str, ...], cycle: float, options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Return each side's median step in seconds, and what it takes over the floor's in the same round."""
    environment = os.environ | {"HOROVOD_CYCLE_TIME": f"{cycle:g}", "OMP_NUM_THREADS": "1"}
    horovodrun = Path(sys.executable).parent / "horovodrun"
    command = [str(horovodrun), "-np", "2", f"--{options.controller}", sys.executable, __file__, "--worker", *names]
    command += ["--rounds", str(options.rounds), "--steps", str(options.steps)]
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [*command, "--meeting", f"{folder}/meeting"],
            env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip
    found = re.search(r'\{"seconds".*\}', done.stdout)
    if done.returncode or found is None:
        sys.exit(done.stdout + done.stderr)
    seconds: dict[str, list[float]] = json.loads(found[0])["seconds"]
    ratios = {side: [a / b for a, b in zip(took, seconds["floor"], strict=True)] for side, took in seconds.items()}
    return {
        side: {"median": median(took), "over_floor": median(each), "range": [min(each), max(each)]}
        for (side, took), each in zip(seconds.items(), ratios.values(), strict=True)
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cycles", type=float, nargs="+", default=[5, 10, 20], help="the engine's cycle times in ms")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=8, help="steps of a block")
    parser.add_argument("--controller", choices=["gloo", "mpi"], default="gloo")
    parser.add_argument("--write", action="store_true", help="write the result to benchmarks/results/")
    parser.add_argument("--worker", nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--meeting", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options.worker, options.rounds, options.steps, options.meeting)
        return
    from hvdtrain.report.environment import processor

    cycles = {}
    for cycle in options.cycles:
        sides = launch(BUCKETS, cycle, options) | {"horovod": launch(FUSED, cycle, options)["horovod"]}
        cycles[f"{cycle:g}"] = sides
        line = ", ".join(
            f"{side} {found['median'] * 1e3:.0f} ({found['over_floor']:.3f})" for side, found in sides.items()
        )
        print(f"cycle {cycle:g} ms: {line}", flush=True)
    if options.write:
        result = {
            "benchmark": "gradient-buffers",
            "date": date.today().isoformat(),
            "command": f"python benchmarks/gradient_buffers.py {' '.join(sys.argv[1:])}",
            "hardware": f"{os.cpu_count()} cores, {processor()}",
            "versions": {name: version(name) for name in ("torch", "horovod", "hvdtrain")},
            "controller": options.controller,
            "cycle_ms": cycles,
        }
        path = Path(__file__).parent / "results" / f"gradient-buffers-{options.controller}-{result['date']}.json"
        path.write_text(json.dumps(result, indent=1) + "\n")
        print(f"written to {path}")


if __name__ == "__main__":
    main()
