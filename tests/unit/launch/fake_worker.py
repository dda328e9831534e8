"""Stands in for `hvdtrain train`: fake_worker.py FOLDER SCENARIO. Leaves its process id in FOLDER."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from hvdtrain.errors import LostWorkerError, NonFiniteError, RecipeError, RunError
from hvdtrain.metrics.records import CheckpointRecord, EndRecord, StartRecord, StepRecord
from hvdtrain.report.events import EventWriter, wanted, write_error

FOLDER, SCENARIO = Path(sys.argv[1]), sys.argv[2]
RANK = int(os.environ.get("HOROVOD_RANK") or os.environ["OMPI_COMM_WORLD_RANK"])
SIZE = int(os.environ.get("HOROVOD_SIZE") or os.environ["OMPI_COMM_WORLD_SIZE"])
stopping = False


def ask(*_: object) -> None:
    global stopping
    stopping = True


def publish(record) -> None:
    if RANK == 0:
        EventWriter()(record)


def start_record() -> StartRecord:
    numbers = ("world_size", "hosts", "threads_per_worker", "global_batch_size", "micro_batch_size", "total_steps")
    more = (
        "gradient_accumulation_steps",
        "learning_rate",
        "parameters",
        "flops_per_token",
        "train_targets",
        "val_targets",
    )
    words = ("name", "output_dir", "device", "precision", "precision_reason", "learning_rate_rule")
    return StartRecord(step=0, **dict.fromkeys(numbers + more, SIZE), **dict.fromkeys(words, "fake"))  # type: ignore[arg-type]


def step_record(step: int) -> StepRecord:
    return StepRecord(
        step=step, loss=1.0, lr=0.1, grad_norm=1.0, samples=1, tokens=1, samples_per_second=1.0, tokens_per_second=1.0,
        world_size=SIZE, seconds={"step": 1.0},
    )  # fmt: skip


def train(seconds: float, saving: float = 0.0) -> None:
    """Step until the time is over or a signal came; after a signal take the time for a checkpoint."""
    deadline, step = time.monotonic() + seconds, 0
    while time.monotonic() < deadline and not stopping:
        step += 1
        publish(step_record(step))
        time.sleep(0.05)
    if stopping:
        time.sleep(saving)
        (FOLDER / f"saved-{RANK}").touch()
    publish(CheckpointRecord(step=step, path="x", bytes=1, seconds=0.1))
    publish(EndRecord(step=step, reason="stopped" if stopping else "finished", world_size=SIZE))


def main() -> None:
    assert wanted()
    (FOLDER / f"pid-{RANK}").write_text(str(os.getpid()))
    if SCENARIO == "deaf-start":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(60)
    signal.signal(signal.SIGTERM, signal.SIG_IGN if SCENARIO == "deaf" else ask)
    if SCENARIO == "refuse":
        while RANK and not (FOLDER / f"refused-{RANK - 1}").exists():
            time.sleep(0.01)
        time.sleep(1.0 * RANK)  # Its line must not overtake that of the worker before.
        write_error(RecipeError("model.d_mode: unknown"), RANK)
        (FOLDER / f"refused-{RANK}").touch()
        sys.exit(2)
    (FOLDER / f"ready-{RANK}").touch()
    while len(list(FOLDER.glob("ready-*"))) < SIZE:  # Real workers meet in Horovod's start.
        time.sleep(0.01)
    publish(start_record())
    if SCENARIO == "crash" and RANK == 1:
        raise ZeroDivisionError("of worker one")
    if SCENARIO in ("full", "no number") and RANK == 1:
        write_error(RunError("disk full") if SCENARIO == "full" else NonFiniteError("step 3: non-finite loss"), RANK)
        (FOLDER / "told").touch()
    if SCENARIO == "full" and RANK == 0:
        while not (FOLDER / "told").exists():
            time.sleep(0.01)
        time.sleep(1.0)  # Its line must not overtake the other worker's.
        publish(start_record())
    if SCENARIO == "killed" and RANK == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if SCENARIO == "killed":
        time.sleep(1.0)
        write_error(LostWorkerError("lost contact with another worker"), RANK)
        sys.exit(1)
    if SCENARIO == "stray":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        (FOLDER / f"pid-stray-{RANK}").write_text(str(child.pid))
    if SCENARIO in ("long", "deaf", "crash", "no number"):
        train(60, saving=1.5)
    else:
        print(f"hello from {RANK}", flush=True)
        train(0.3)


main()
