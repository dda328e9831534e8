"""Causes of bad scaling, created on purpose with real workers, and what `hvdtrain scale` names for each.

    python benchmarks/planted.py --write

Each case is a sweep of one and two workers through the command line. The causes are in the recipe (knobs, threads, too
little work), in the workers (faults/sitecustomize.py: slow data, a worker that sleeps, one on a busy core, helper
processes), or in the network (namespaces.py: two hosts with a thin link). tests/parallel/test_diagnosis.py holds each.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from namespaces import Lab, lab_problem

from hvdtrain.report.environment import processor

HERE = Path(__file__).parent
SWEEP = (
    "gpt-shakespeare", "--synthetic", "--gloo", "--np", "1,2", "--repeats", "1", "--steps", "8", "--plain",
    "--no-all-cores",
)  # fmt: skip
MEDIUM = ("model.n_layers=2", "train.precision=fp32", "sync.cycle_time_ms=10")
TINY_TENSORS = ("model.n_layers=40", "model.d_model=16", "model.n_heads=2", "train.micro_batch_size=4")
HEALTHY = ("train.precision=fp32", "train.micro_batch_size=16", "train.global_batch_size=32")
LITTLE = ("model.d_model=64", "data.max_seq_len=16", "train.micro_batch_size=1", "train.global_batch_size=2")


@dataclass(frozen=True)
class Case:
    """A cause as it is planted, and the name that the diagnosis must give it first; "" where nothing is wrong."""

    planted: str
    named: str
    changes: tuple[str, ...] = MEDIUM
    fault: str = ""
    rate: str | None = None

    def problem(self) -> str | None:
        """Return why this case can't be made here, or None."""
        return lab_problem() if self.rate else None

    def report(self, folder: Path) -> dict[str, Any]:
        """Run the sweep and return its report.

        Raises:
            RuntimeError: it failed; with what it wrote.
        """
        command = [sys.executable, "-m", "hvdtrain", "scale", *SWEEP, "-o", str(folder / "sweep"), *self.changes]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        if self.fault:
            environment |= {"HVDTRAIN_TEST_FAULT": self.fault, "PYTHONPATH": str(HERE / "faults")}
        done = self._run(command, folder, environment)
        if done.returncode != 0:
            raise RuntimeError(f"{self.planted}: {done.stdout}{done.stderr}")
        report: dict[str, Any] = json.loads((folder / "sweep" / "report.json").read_text())
        return report

    def _run(self, command: list[str], folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
        if self.rate is None:
            return subprocess.run(
                command, env=environment, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                timeout=300, check=False,
            )  # fmt: skip
        with Lab(hosts=2, rate=self.rate, cores=["0", "1"]) as lab:
            place = ["-H", lab.slots(1), "--network-interfaces=eth0"]
            return lab.run("a", [*command, *place], env=environment, cwd=str(folder))


CASES = (
    Case("a loader that takes 100 ms for each batch", "slow-data", fault="slow-data"),
    Case("worker 1 sleeps 100 ms in each step", "slow-worker", fault="sleeping-worker"),
    Case("worker 1 is bound to a core on which another program runs", "slow-worker", fault="busy-core"),
    Case("two hosts, 200 Mbit/s between them", "thin-link", rate="200mbit"),
    Case("a cycle time of 0.1 ms", "short-cycle", (*MEDIUM, "sync.cycle_time_ms=0.1")),
    Case("a cycle time of 250 ms", "long-cycle", (*MEDIUM, "sync.cycle_time_ms=250")),
    Case("fusion off, 242 small tensors", "no-fusion", (*MEDIUM, *TINY_TENSORS, "sync.fusion_threshold_mb=0")),
    Case("a step of a few milliseconds", "little-work", (*MEDIUM, *LITTLE, "sync.cycle_time_ms=1")),
    Case("8 threads a worker on two cores", "oversubscription", (*MEDIUM, "train.threads_per_worker=8")),
    Case("each worker has a helper process that takes a core", "contention", fault="helpers"),
    Case("nothing: the shipped recipe in fp32, 16 sequences a worker", "", HEALTHY),
)


@dataclass(frozen=True)
class Refusal:
    """A fault of the hosts that must be found before anything starts, and what the message must hold."""

    planted: str
    named: str
    options: tuple[str, ...] = ()
    loopback_names: bool = False

    def message(self, folder: Path) -> str:
        """Return what `hvdtrain scale` says on its way out.

        Raises:
            RuntimeError: it was not refused as a mistake of the user's, or something was started.
        """
        with Lab(hosts=2, loopback_names=self.loopback_names) as lab:
            place = ["-H", lab.slots(1), *self.options, "-o", str(folder / "sweep")]
            done = lab.run("a", [sys.executable, "-m", "hvdtrain", "scale", *SWEEP, *place], cwd=str(folder))
        if done.returncode != 2 or (folder / "sweep").exists():
            raise RuntimeError(f"{self.planted}: not refused, exit code {done.returncode}: {done.stdout}{done.stderr}")
        return " ".join(done.stderr.split())


REFUSALS = (
    Refusal("two hosts whose own names resolve to a loopback address", "127.0.1.1", loopback_names=True),
    Refusal("an interface that the hosts do not have", "eth7", ("--network-interfaces=eth7",)),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="keep the result in benchmarks/results")
    parser.add_argument("--only", default="", metavar="TEXT", help="cases whose description holds this")
    asked = parser.parse_args()
    rows = []
    print("| planted | named first | costs a step | change | also named |\n|---|---|---|---|---|")
    for case in (case for case in CASES if asked.only in case.planted):
        if case.problem():
            print(f"| {case.planted} | not made: {case.problem()} | | | |")
            continue
        with tempfile.TemporaryDirectory() as folder:
            (diagnosis,) = case.report(Path(folder))["diagnoses"]
        found = diagnosis["findings"]
        rows.append({"planted": case.planted, "expected": case.named, "diagnosis": diagnosis})
        first = found[0] if found else {"title": diagnosis["verdict"], "change": "", "otherwise": ""}
        change = f"`{first['change']}`" if first["change"] else first["otherwise"]
        cost = f"{1000 * first['seconds']:.0f} ms, {100 * first['share']:.0f} %" if found else ""
        others = ", ".join(one["cause"] for one in found[1:])
        print(f"| {case.planted} | {first['title']} | {cost} | {change} | {others} |", flush=True)
    for refusal in (one for one in REFUSALS if asked.only in one.planted and lab_problem() is None):
        with tempfile.TemporaryDirectory() as folder:
            said = refusal.message(Path(folder))
        rows.append({"planted": refusal.planted, "expected": refusal.named, "refused": said})
        print(f"| {refusal.planted} | refused before the start: {said} | | | |", flush=True)
    if asked.write:
        write(rows)


def write(rows: list[dict[str, Any]]) -> None:
    """Keep the results, and of today's those of the cases that were not run this time."""
    path = HERE / "results" / f"planted-{date.today()}.json"
    before = json.loads(path.read_text())["cases"] if path.exists() else []
    known = {row["planted"]: row for row in [*before, *rows]}
    order = [one.planted for one in (*CASES, *REFUSALS)]
    values = {"command": "python benchmarks/planted.py", "date": str(date.today()), "processor": processor()}
    cases = [known[planted] for planted in order if planted in known]
    path.write_text(json.dumps(values | {"cases": cases}, indent=1) + "\n")


if __name__ == "__main__":
    main()
