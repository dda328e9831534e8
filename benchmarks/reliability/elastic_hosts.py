"""Workers killed one after the other in one elastic job over three hosts, each of which comes back after its time.

    python benchmarks/reliability/elastic_hosts.py [--kills 50] [--sync allreduce] [--patience 30] [--rate 100mbit]

Hosts are network namespaces, so this must be root. A trial is one kill, at a random moment after updates of all three
workers, of any worker: the two that are left must go on, from an update that is no further back than a commit, and be
three again once the host's time (`--blacklist-cooldown-range 1 2`) is over. One that takes longer than the patience for
either counts as failed, as does one that loses another worker, and the job goes on for as long as it can. With a rate
the hosts have links of that, and the model is one of 1.7 M parameters, whose gradients are under way for most of a
step, so that most kills come in the middle of a collective. At the end the job is asked to stop, and must leave a
checkpoint and no process. Trials are appended to benchmarks/results/reliability/elastic-hosts.jsonl.
"""

from __future__ import annotations

import argparse
import random
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from elastic import records_of
from job import SYNCS, Work, environment
from ledger import Ledger  # puts the benchmarks on the path
from namespaces import Lab, lab_problem

COMMIT = 5
CHANGES = (
    "train.max_steps=1000000",
    f"train.commit_interval={COMMIT}",
    "train.eval_interval=0",
    "train.save_interval=1000000",
)
ELASTIC = ("--min-np", "1", "--max-np", "3", "--blacklist-cooldown-range", "1", "2", "--network-interfaces=eth0")
LARGE = ("model={d_model: 256, n_layers: 2, n_heads: 4}", "train.global_batch_size=6")
LIMIT = 240.0
"""Seconds after which a job that stands still is given up; Gloo waits for 180."""


def workers(lab: Lab, host: str) -> list[psutil.Process]:
    return [one for one in lab.processes(host) if "hvdtrain" in one.cmdline() and "HOROVOD_RANK" in one.environ()]


def resizes(output: Path) -> list[dict[str, Any]]:
    return [record for record in records_of(output) if record["event"] == "resize"]


def last_step(output: Path) -> int:
    return max((record["step"] for record in records_of(output)), default=0)


def seconds_until(reached: Callable[[], bool], limit: float = LIMIT) -> float | None:
    """Return how long it took, None where it took longer than the limit."""
    began = time.monotonic()
    while not reached():
        if time.monotonic() - began > limit:
            return None
        time.sleep(0.05)
    return time.monotonic() - began


def trial(lab: Lab, output: Path, draw: random.Random, patience: float, step: float) -> dict[str, Any]:
    """Kill a worker of a job of three within so many seconds after a step; return what came of it."""
    before, wanted = len(resizes(output)), last_step(output) + draw.randrange(2, 20)
    seconds_until(lambda: last_step(output) >= wanted)
    time.sleep(draw.random() * step)
    host = draw.choice(list(lab.names))
    at = last_step(output)
    for worker in workers(lab, host):
        worker.kill()
    shrunk = seconds_until(lambda: len(resizes(output)) > before)
    grown = seconds_until(lambda: len(resizes(output)) > before + 1) if shrunk is not None else None
    found = resizes(output)[before:]
    sizes = [(record["before"], record["after"]) for record in found]
    lost = at - found[0]["step"] if found else None
    well = shrunk is not None and grown is not None and max(shrunk, grown) <= patience and sizes == [(3, 2), (2, 3)]
    facts = {"host": host, "at": at, "lost": lost, "sizes": sizes, "shrunk_after": shrunk, "grown_after": grown}
    return {"ok": well and lost is not None and lost <= COMMIT + 1} | facts


def campaign(folder: Path, sync: str, kills: int, patience: float, rate: str | None, ledger: Ledger) -> None:
    script = folder / "discover"
    script.write_text("#!/bin/sh\nprintf 'a:1\\nb:1\\nc:1\\n'\n")
    script.chmod(0o755)
    more = (*CHANGES, *LARGE) if rate else CHANGES
    work = Work("language model, GPT", sync, folder, workers=3, more=more)
    command = work.command("run", *ELASTIC, "--host-discovery-script", str(script))
    output, draw = folder / "run", random.Random(len(ledger.trials))
    with Lab(hosts=3, rate=rate) as lab:
        job = lab.start("a", command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for number in range(kills):
            facts = trial(lab, output, draw, patience, step=1.0 if rate else 0.2)
            ledger.add(sync=sync, rate=rate, commit_interval=COMMIT, patience=patience, **facts)
            print(f"[{number + 1}/{kills}] {sync}: {facts}", flush=True)
            if facts["grown_after"] is None or job.poll() is not None:
                print("the job does not go on: given up")
                break
        lab.send(job, signal.SIGTERM)
        code = job.wait(timeout=LIMIT)
        ended = [record["reason"] for record in records_of(output) if record["event"] == "end"]
        left = lab.left()
        print(f"exit code {code}, ended: {ended}, {len(left)} processes left")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--sync", choices=SYNCS, default="allreduce")
    parser.add_argument("--patience", type=float, default=30.0, help="seconds")
    parser.add_argument("--rate", help="of the hosts' links, as tc writes it; without it they carry what they can")
    asked = parser.parse_args()
    if problem := lab_problem():
        raise SystemExit(f"no hosts can be made: {problem}")
    ledger = Ledger("elastic-hosts")
    with tempfile.TemporaryDirectory() as folder:
        campaign(Path(folder), asked.sync, asked.kills, asked.patience, asked.rate, ledger)
    for name in ("shrunk_after", "grown_after"):
        values = [one[name] for one in ledger.trials if one[name] is not None]
        print(f"{name}: median {statistics.median(values):.1f} s, at most {max(values):.1f} s")
    print(f"all: {sum(one['ok'] for one in ledger.trials)} of {len(ledger.trials)}")


if __name__ == "__main__":
    main()
