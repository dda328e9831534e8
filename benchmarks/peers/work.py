"""What every peer of `compare_peers.py` is asked to do, and how it tells what its steps took.

It imports no torch and nothing of hvdtrain: a peer's memory is to be the peer's own.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Work:
    """Steps of training on `micro_batch` x `seq_len` tokens a worker; `window` steps are timed together.

    `folder` holds the data, prepared by hvdtrain: `inputs.npy` and `targets.npy`, (samples, seq_len) int64 each, and
    `order.npy`, (steps, workers, micro_batch) int64: the samples that hvdtrain's workers train on at each step. `model`
    and `task` are hvdtrain's configs as JSON. Windows are written to `out`.
    """

    steps: int
    window: int
    workers: int
    micro_batch: int
    seq_len: int
    vocab_size: int
    precision: str
    lr: float
    betas: tuple[float, float]
    weight_decay: float
    max_grad_norm: float
    seed: int
    model: dict[str, Any]
    task: dict[str, Any]
    folder: str
    out: str

    def write(self, path: Path) -> None:
        """Write it for `read_work`."""
        path.write_text(json.dumps(asdict(self)))

    @property
    def tokens_per_window(self) -> int:
        """Tokens that all workers together train on in a window."""
        return self.window * self.workers * self.micro_batch * self.seq_len


def read_work(path: str) -> Work:
    """Return what `Work.write` wrote."""
    values = json.loads(Path(path).read_text())
    return Work(**values | {"betas": tuple(values["betas"])})


class Meter:
    """Takes the wall time of each window of steps on one worker, and writes it down after the last."""

    def __init__(self, work: Work, rank: int) -> None:
        self._work, self._rank = work, rank
        self._steps, self._seconds, self._began = 0, [0.0] * 0, 0.0

    def start(self) -> None:
        """Begin to count time: the first step comes now."""
        self._began = time.perf_counter()

    def step(self) -> None:
        """A step was done."""
        self._steps += 1
        if self._steps % self._work.window == 0:
            now = time.perf_counter()
            self._seconds.append(now - self._began)
            self._began = now
        if self._steps == self._work.steps:
            write_whole(Path(self._work.out) / f"windows-{self._rank}.json", self._seconds)


def write_whole(path: Path, values: Any) -> None:
    """Write JSON so that whoever sees the file sees all of it."""
    unfinished = path.with_suffix(f".{os.getpid()}")
    unfinished.write_text(json.dumps(values))
    unfinished.rename(path)


def rates(work: Work, seconds: Sequence[Sequence[float]]) -> list[float]:
    """Return the tokens/s of all workers in each window: their tokens over the slowest worker's time.

    Args:
        seconds: for each worker those of its windows.
    """
    return [work.tokens_per_window / max(walls) for walls in zip(*seconds, strict=True)]
