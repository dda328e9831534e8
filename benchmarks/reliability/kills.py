"""SIGKILL at a random moment, and a resume: does it end bit for bit as a run that was never interrupted?

    python benchmarks/reliability/kills.py [--trials 20] [--seed 0] [--folder DIR]

Each trial takes a task and a strategy that were tried least so far, and draws who coordinates the workers (Gloo or
MPI), whom to kill (rank 0, another rank, or the launcher) and when: at a random moment between the first step and the
last. A trial counts where the kill ended the job before its last step was logged; the others are kept, and told apart.
Of the job no process and nothing in shared memory may be left. It is then started anew with
--resume auto, which must go on from the newest checkpoint that the kill left. Its last checkpoint, with optimizer
state, place in the order of samples and all else, is compared with that of a run that was left alone, which is made
once for each state of the code, task, strategy and controller (three workers' sums are rounded otherwise over MPI than
over Gloo). The losses after the resume must be the same too. Trials are appended to
benchmarks/results/reliability/kills.jsonl.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import shutil
import tempfile
import time
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

from job import (
    STEPS,
    SYNCS,
    TASKS,
    Work,
    abandoned_memory,
    await_step,
    different,
    ended,
    run,
    start,
    steps,
    strays,
    worker,
)
from ledger import Ledger, table

import hvdtrain

UNNOTED = 97
VICTIMS = ("rank 0", "another rank", "the launcher")
UNFIT = {("reinforcement learning", "dedicated server")}
"""A server that does not play has no part in a task whose workers make their own samples."""
CONTROLLERS = {"adasum": ("mpi",)}
"""Where a strategy needs one."""


def losses(output: Path) -> dict[int, Any]:
    """Return what was logged last of each step."""
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: (line["loss"], line["samples"]) for line in lines if line["event"] == "step"}


def reference(work: Work) -> float:
    """Make the run that is left alone, if it is not there; return the seconds from its first to its last step."""
    output = work.folder / whole(work)
    if not (output / "report.json").exists():
        finished = run(work.command(whole(work)))
        if finished.returncode:
            raise SystemExit(f"{work.task}, {work.sync}: {finished.stdout}{finished.stderr}")
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    return float(next(line["elapsed"] for line in reversed(lines) if line["event"] == "end"))


@cache
def code() -> str:
    """Return a name for the code that trains: a run of other code is nothing to compare with."""
    package = Path(hvdtrain.__file__).parent
    summed = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        summed.update(str(path.relative_to(package)).encode() + b"\0" + path.read_bytes())
    return summed.hexdigest()[:12]


def whole(work: Work) -> str:
    """Return the name of the run that is left alone."""
    return f"whole-{work.controller}-{code()}"


def newest(output: Path) -> str:
    """Return the name of a run's newest checkpoint, nothing where there is none."""
    from hvdtrain.train import checkpoint

    found, _ = checkpoint.newest(output / "checkpoints")
    return found.name if found else ""


def trouble(work: Work, output: Path, there: str) -> str:
    """Say what is wrong with a run that was resumed where `there` was its newest checkpoint; nothing where all is well.

    What was finished does not begin again.
    """
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    # A launcher that is killed lets its workers stop, which is an end too.
    if [line["step"] for line in lines if line["event"] == "end" and line["reason"] != "stopped"] != [STEPS]:
        return "the records have another number of ends than one"
    resumed = Path([line["resumed_from"] for line in lines if line["event"] == "start"][-1] or "").name
    if there != f"step-{STEPS}" and resumed != there:
        return f"went on from {resumed or 'nothing'}, not from {there or 'nothing'}"
    alone = work.folder / whole(work)
    if unlike := different(alone, output):
        return f"differs in {unlike}"
    expected, found = losses(alone), losses(output)
    other = [step for step in expected if expected[step] != found.get(step)]
    return f"losses of steps {other[:5]} differ" if other else ""


def trial(work: Work, victim: str, delay: float) -> dict[str, Any]:
    """Kill, resume and compare; return what came of it."""
    output = work.folder / "broken"
    shutil.rmtree(output, ignore_errors=True)
    before = abandoned_memory()
    job = start(work.command("broken", "--resume", "never"), work.folder / "broken.log")
    await_step(job, output, 1)
    time.sleep(delay)
    rank = 0 if victim == "rank 0" else work.workers - 1
    process = job if victim == "the launcher" else worker(output, rank)
    running = job.poll() is None
    if process is not None:
        process.kill()
    code, at = ended(job, 120), steps(output)
    left = strays(output)
    memory = abandoned_memory() - before
    there = newest(output)
    again = run(work.command("broken", "--resume", "auto"))
    memory = sorted(memory & abandoned_memory())  # what another job had just made, it has mapped by now
    # At the very end the job may have got away with it: then it must have finished.
    facts: dict[str, Any] = {"killed_at_step": at, "strays": len(left), "memory": memory, "hit": running and code != 0}
    if code is None:
        return facts | {"ok": False, "why": "the job did not end within two minutes of the kill"}
    if not facts["hit"] and code != 0:
        return facts | {"ok": False, "why": f"the job failed before it was killed: exit code {code}"}
    if again.returncode:
        return facts | {"ok": False, "why": f"the resume failed: {again.stderr[-500:]}"}
    facts["resumed_from"] = there
    why = trouble(work, output, there)
    if left or memory:
        why = f"left: {len(left)} processes, {', '.join(memory) or 'nothing'} in shared memory; {why}"
    return facts | {"ok": not why, "why": why}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "hvdtrain-kills")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--syncs", nargs="+", choices=SYNCS, default=list(SYNCS))
    asked = parser.parse_args()
    ledger = Ledger("kills")
    draw = random.Random(len(ledger.trials) if asked.seed is None else asked.seed)
    pairs = [(task, sync) for task in asked.tasks for sync in asked.syncs if (task, sync) not in UNFIT]
    for number in range(asked.trials):
        tried = Counter((one["task"], one["sync"]) for one in ledger.trials)
        least = min(tried[pair] for pair in pairs)
        task, sync = draw.choice([pair for pair in pairs if tried[pair] == least])
        folder = asked.folder / f"{task}-{sync}".replace(" ", "-").replace(",", "")
        folder.mkdir(parents=True, exist_ok=True)
        controllers = CONTROLLERS.get(sync, ("gloo", "mpi"))
        controller, victim = draw.choice(controllers), draw.choice(VICTIMS)
        work = Work(task, sync, folder, workers=3 if sync == "dedicated server" else 2, controller=controller)
        facts = trial(work, victim, draw.uniform(0, reference(work)))
        ledger.add(task=task, sync=sync, victim=victim, controller=controller, steps=STEPS, **facts)
        print(f"[{number + 1}/{asked.trials}] {task}, {sync}, {controller}, {victim}: {facts}", flush=True)
    counted = [one for one in ledger.trials if not one["ok"] or (one["hit"] and one["killed_at_step"] < STEPS)]
    print(table(counted, lambda one: one["victim"]))
    late = len(ledger.trials) - len(counted)
    went_on = sum(bool(one.get("resumed_from")) for one in counted)
    print(f"{went_on} of them went on from a checkpoint; the first {UNNOTED} trials did not note it")
    print(
        f"all: {sum(one['ok'] for one in counted)} of {len(counted)}; {late} others, all well, came after the last step"
    )


if __name__ == "__main__":
    main()
