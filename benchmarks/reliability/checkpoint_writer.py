"""Writes two checkpoints as a run does; between them it freezes until somebody is attached to it.

    python benchmarks/reliability/checkpoint_writer.py DIR [KEEP_LAST]

It writes step-1, stops itself by SIGSTOP, and once it is let go on writes step-2 and exits: 0 where it was written, 3
where it could not be, in so many words.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import torch

from hvdtrain.errors import RunError
from hvdtrain.train.checkpoint import Snapshot
from hvdtrain.train.saving import Checkpoints


def snapshot(step: int) -> Snapshot:
    """Return a small model's state, which only the step determines."""
    torch.manual_seed(step)
    model = {"weight": torch.randn(64, 64), "bias": torch.randn(64)}
    optimizer = {f"only.{i}.exp_avg": torch.randn_like(t) for i, t in enumerate(model.values())}
    return Snapshot(model, optimizer, {"step": step, "loader": {"position": step * 12}})


def main() -> None:
    folder, keep_last = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1
    torch.set_num_threads(1)
    checkpoints = Checkpoints(
        folder, recipe="name: x\n", save_tokenizer=lambda path: path.write_text("{}"), keep_last=keep_last
    )
    checkpoints.save(snapshot(1), {"value": 1.0})
    second = snapshot(2)
    os.kill(os.getpid(), signal.SIGSTOP)
    try:
        checkpoints.save(second, {"value": 0.5})
    except RunError as error:
        print(error, flush=True)
        os._exit(3)
    os._exit(0)


if __name__ == "__main__":
    main()
