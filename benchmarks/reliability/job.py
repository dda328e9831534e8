"""Small runs of hvdtrain under real horovodrun, which campaigns break: what is trained, how it is started and ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

PYTHON = sys.executable
STEPS = 60
_LANGUAGE = (
    "data.max_seq_len=32",
    "tokenizer={name: bytes}",
    "train.global_batch_size=12",
    "train.micro_batch_size=2",
    "task.sample_tokens=4",
    "train.eval_samples=24",
)
TASKS = {
    "language model, GPT": ("gpt-shakespeare", ("model={d_model: 32, n_layers: 1, n_heads: 2}", *_LANGUAGE)),
    "language model, LSTM": ("lstm-shakespeare", ("model={d_model: 32, n_layers: 1}", *_LANGUAGE)),
    "images": ("cnn-digits", ("train.epochs=null",)),
    "regression": ("mlp-regression", ("train.epochs=null",)),
    "binary classification": ("mlp-breast-cancer", ("train.epochs=null",)),
    "DNA": ("dna-splice", ("train.epochs=null", "train.early_stopping=null")),
    "GAN": ("gan-mnist", ("model.width=8", "train.eval_samples=64")),
    "reinforcement learning": ("ppo-cartpole", ("train.eval_samples=8",)),
    "translation": (
        "translation-en-es",
        (
            "model={d_model: 32, n_encoder_layers: 1, n_decoder_layers: 1}",
            "tokenizer.vocab_size=500",
            "data.max_seq_len=16",
            "task.eval_beam_size=0",
            "train.epochs=null",
            "train.eval_samples=24",
        ),
    ),
}
"""A recipe for each task, and what makes it small."""

SYNCS = {
    "allreduce": "{name: allreduce, cycle_time_ms: 1}",
    "sharded": "{name: sharded, cycle_time_ms: 1}",
    "parameter_server": "{name: parameter_server, cycle_time_ms: 1}",
    "dedicated server": "{name: parameter_server, placement: dedicated, cycle_time_ms: 1}",
    "local_sgd": "{name: local_sgd, period: 4, cycle_time_ms: 1}",
    "powersgd": "{name: powersgd, cycle_time_ms: 1}",
    "topk": "{name: topk, cycle_time_ms: 1}",
    "adasum": "{name: adasum, cycle_time_ms: 1}",
    "none": "{name: none}",
}

_EVERYWHERE = (
    "train.deterministic=true",
    "train.precision=fp32",
    "train.threads_per_worker=1",
    f"train.max_steps={STEPS}",
    "train.save_interval=7",
    "train.eval_interval=20",
    "train.log_interval=1",
    "train.plots=false",
    "train.keep_last=2",
)


@dataclass(frozen=True)
class Work:
    """A task, a strategy, and where its runs go."""

    task: str
    sync: str
    folder: Path
    workers: int = 2
    more: tuple[str, ...] = ()
    controller: str = "gloo"

    def command(self, output: str, *launcher: str) -> list[str]:
        """Return the command that begins or goes on with a run; `launcher` are arguments of `hvdtrain launch`."""
        recipe, changes = TASKS[self.task]
        fixed = (*_EVERYWHERE, f"sync={SYNCS[self.sync]}", f"output_dir={self.folder / output}", *self.more)
        start = [PYTHON, "-m", "hvdtrain", "launch", "--plain", f"--{self.controller}", "-np", str(self.workers)]
        return [*start, *launcher, recipe, *changes, *fixed]


def environment(**variables: str) -> dict[str, str]:
    """Return the environment of a job, this Python's programs first."""
    path = f"{Path(PYTHON).parent}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"PATH": path, "OMP_NUM_THREADS": "1"} | variables


def run(command: list[str], timeout: float = 300, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a job to its end; one that takes too long is ended, and has the exit code 124, as `timeout` gives it."""
    try:
        return subprocess.run(
            command,
            env=environment(**variables),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 124, "", f"it took longer than {timeout:g} s")


def ended(job: subprocess.Popen[bytes], timeout: float) -> int | None:
    """Return the exit code of a job; None where it did not end in time, and was ended."""
    try:
        return job.wait(timeout=timeout)
    except subprocess.TimeoutExpired:
        job.kill()
        job.wait()
        return None


def start(command: list[str], log: Path, **variables: str) -> subprocess.Popen[bytes]:
    """Start a job; what it says goes into a file."""
    with log.open("wb") as file:
        return subprocess.Popen(
            command, env=environment(**variables), stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT
        )


def steps(output: Path) -> int:
    """Return the newest step in a run's records, 0 before the first."""
    try:
        lines = (output / "metrics.jsonl").read_text().splitlines()
    except OSError:
        return 0
    for line in reversed(lines):
        try:
            return int(json.loads(line)["step"])
        except (ValueError, KeyError):
            continue
    return 0


def await_step(job: subprocess.Popen[bytes], output: Path, step: int, timeout: float = 120) -> bool:
    """Wait until a run has come to a step; return whether it has, and still runs."""
    deadline = time.monotonic() + timeout
    while job.poll() is None and steps(output) < step and time.monotonic() < deadline:
        time.sleep(0.01)
    return job.poll() is None


def worker(output: Path, rank: int) -> psutil.Process | None:
    """Return the process of a rank of the job that trains into a directory."""
    for process in psutil.process_iter():
        try:
            variables, arguments = process.environ(), process.cmdline()
        except (psutil.Error, OSError):
            continue
        own = variables.get("HOROVOD_RANK") or variables.get("OMPI_COMM_WORLD_RANK")
        if f"output_dir={output}" in arguments and own == str(rank) and "-m" in arguments:
            return process
    return None


def abandoned_memory() -> set[str]:
    """Return the names of what is in shared memory and no living process has mapped.

    Open MPI keeps the workers' messages there, horovodrun its semaphores; those of other jobs are mapped by them.
    """
    found = {path.name for path in Path("/dev/shm").glob("*")}
    for maps in Path("/proc").glob("[0-9]*/maps"):
        try:
            found -= {line.rpartition("/")[2] for line in maps.read_text().splitlines() if " /dev/shm/" in line}
        except OSError:
            continue  # it has ended
    return found


def strays(output: Path, patience: float = 20.0) -> list[int]:
    """Return the processes that a job which has ended left behind, and end them; it has some seconds to go."""
    deadline = time.monotonic() + patience
    while (left := _of(output)) and time.monotonic() < deadline:
        time.sleep(0.2)
    for process in left:
        process.send_signal(signal.SIGKILL)
    return [process.pid for process in left]


def _of(output: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if any(f"output_dir={output}" in argument for argument in process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def different(one: Path, other: Path) -> str:
    """Say what differs between the newest checkpoints of two runs, to the last bit; nothing where they are equal."""
    from hvdtrain.train import checkpoint
    from hvdtrain.train.checkpoint_diff import diff

    found = diff(checkpoint.locate(one), checkpoint.locate(other))
    named = [tensor.name for tensor in (*found.model, *found.optimizer)] + [key for key, *_ in found.state]
    return ", ".join(named[:5])
