"""A rank that is frozen, and a parameter server that is killed: how long until the job ends, and whom it names.

    python benchmarks/reliability/hangs.py [--rounds 20] [--what frozen server] [--timeout 10]

`frozen`: SIGSTOP of one of three workers at a random step, over Gloo, with train.hang_timeout = --timeout. The
job must end with exit code 1 within that and a minute, name the worker, and leave no process. `server`: SIGKILL of the
dedicated parameter server at a random step: the job must end and name it, and a resume must go on from the checkpoint
to the end. Trials are appended to benchmarks/results/reliability/hangs.jsonl.
"""

from __future__ import annotations

import argparse
import random
import signal
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from job import STEPS, Work, await_step, ended, run, start, strays, worker
from ledger import Ledger, table

PATIENCE = 60.0


def frozen(folder: Path, draw: random.Random, timeout: float) -> dict[str, Any]:
    """Freeze a worker; return how the job ended."""
    rank, step = draw.randrange(3), draw.randrange(2, STEPS - 10)
    work = Work("language model, GPT", "allreduce", folder, workers=3, more=(f"train.hang_timeout={timeout}",))
    output, log = folder / "run", folder / "log"
    job = start(work.command("run", "--resume", "never"), log)
    if not await_step(job, output, step) or (process := worker(output, rank)) is None:
        ended(job, 0)
        return {"ok": False, "why": f"the job did not come to step {step}: {log.read_text()[-500:]}"}
    process.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    code = ended(job, timeout + PATIENCE)
    seconds = time.monotonic() - began
    left, said = strays(output), log.read_text()
    error = next((line for line in reversed(said.splitlines()) if line.startswith("error:")), "")
    named = f"worker {rank} gave no sign of life" in error
    why = (
        "" if named and code == 1 and not left else f"exit code {code}, {len(left)} left, said: {error or said[-300:]}"
    )
    return {"ok": not why, "why": why, "rank": rank, "step": step, "seconds": round(seconds, 1), "said": error}


def server(folder: Path, draw: random.Random, timeout: float) -> dict[str, Any]:
    """Kill a dedicated parameter server; return how the job ended, and how the resume did."""
    step = draw.randrange(8, STEPS - 10)
    work = Work("language model, GPT", "dedicated server", folder, workers=3)
    output, log = folder / "run", folder / "log"
    job = start(work.command("run", "--resume", "never"), log)
    if not await_step(job, output, step) or (process := worker(output, 2)) is None:
        ended(job, 0)
        return {"ok": False, "why": f"the job did not come to step {step}: {log.read_text()[-500:]}"}
    process.kill()
    began = time.monotonic()
    code = ended(job, timeout + PATIENCE)
    seconds = time.monotonic() - began
    left, said = strays(output), log.read_text()
    named = "worker 2 was ended by SIGKILL" in said
    again = run(work.command("run", "--resume", "auto"))
    finished = again.returncode == 0 and "resumed at step" in again.stdout
    good = named and code == 1 and not left and finished
    why = "" if good else f"exit code {code}, {len(left)} left, named {named}, resumed {finished}: {said[-300:]}"
    return {"ok": good, "why": why, "step": step, "seconds": round(seconds, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--what", nargs="+", choices=["frozen", "server"], default=["frozen", "server"])
    parser.add_argument("--timeout", type=float, default=10.0)
    asked = parser.parse_args()
    ledger = Ledger("hangs")
    draw = random.Random(len(ledger.trials))
    for number in range(asked.rounds):
        for what in asked.what:
            with tempfile.TemporaryDirectory() as directory:
                facts = {"frozen": frozen, "server": server}[what](Path(directory), draw, asked.timeout)
            ledger.add(what=what, timeout=asked.timeout, **facts)
            print(f"[{number + 1}/{asked.rounds}] {what}: {facts}", flush=True)
    print(table(ledger.trials, lambda one: one["what"]))
    for what in asked.what:
        seconds = [one["seconds"] for one in ledger.trials if one["what"] == what and "seconds" in one]
        print(f"{what}: ended after {statistics.median(seconds):.1f} s ({min(seconds):.1f} to {max(seconds):.1f})")


if __name__ == "__main__":
    main()
