"""One long run: do memory, file handles and threads grow?

    python benchmarks/reliability/soak.py [--minutes 60] [--workers 2]

Trains a small GPT with evaluations, samples and checkpoints for as long as asked, and notes every ten seconds for each
worker the resident memory, open files and threads. The result is the slope of each against the steps, by least squares,
over the last three quarters of the time, a thousand steps being the unit. One line in
benchmarks/results/reliability/soak.jsonl.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from job import Work, await_step, start, steps, strays, worker
from ledger import Ledger

KINDS = ("memory_bytes", "files", "threads")


def slopes(samples: list[tuple[int, tuple[float, ...]]]) -> dict[str, float]:
    """Return the growth of each kind for a thousand steps, by least squares over the last three quarters."""
    late = samples[len(samples) // 4 :]
    x = np.array([step for step, _ in late]) / 1000
    return {kind: float(np.polyfit(x, [values[i] for _, values in late], 1)[0]) for i, kind in enumerate(KINDS)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    watched: dict[int, list[tuple[int, tuple[float, ...]]]] = {rank: [] for rank in range(asked.workers)}
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        more = (
            "train.max_steps=100000000",
            "train.deterministic=false",
            "train.save_interval=50",
            "train.log_interval=10",
            "train.plots=false",
        )
        work = Work("language model, GPT", "allreduce", folder, asked.workers, more)
        output = folder / "run"
        job = start(work.command("run", "--resume", "never"), folder / "log")
        await_step(job, output, 20)
        processes = {rank: worker(output, rank) for rank in range(asked.workers)}
        deadline = time.monotonic() + asked.minutes * 60
        while job.poll() is None and time.monotonic() < deadline:
            time.sleep(10)
            for rank, process in processes.items():
                try:
                    assert isinstance(process, psutil.Process)
                    values = (float(process.memory_info().rss), float(process.num_fds()), float(process.num_threads()))
                except psutil.Error:
                    break  # it has ended, and the job with it
                watched[rank].append((steps(output), values))
        alive = job.poll() is None
        job.terminate()
        code = job.wait(timeout=120)
        left = strays(output)
        done = steps(output)
    facts: dict[str, Any] = {f"worker {rank}": slopes(samples) for rank, samples in watched.items()}
    last = {f"worker {rank}": dict(zip(KINDS, samples[-1][1], strict=True)) for rank, samples in watched.items()}
    ledger = Ledger("soak")
    ledger.add(minutes=asked.minutes, steps=done, ok=alive and not left, exit_code=code, growth=facts, last=last)
    print(f"{done:,} steps; growth for a thousand steps: {facts}; at the end: {last}")


if __name__ == "__main__":
    main()
