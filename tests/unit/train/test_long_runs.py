"""What a run holds does not grow with its length: benchmarks/reliability/soak.py in short. One process, in this one."""

from __future__ import annotations

import gc
from pathlib import Path

import psutil
import pytest
import torch

from hvdtrain.cli.train import train
from hvdtrain.train.loop import Loop

EARLY, LATE = 41, 161


def held() -> dict[str, int]:
    gc.collect()
    process = psutil.Process()
    tensors = [one for one in gc.get_objects() if type(one) in (torch.Tensor, torch.nn.Parameter)]
    numbers = sum(one.numel() for one in tensors)
    return {"tensors": len(tensors), "numbers": numbers, "files": process.num_fds(), "threads": process.num_threads()}


def test_updates_evaluations_and_checkpoints_leave_nothing_behind(
    small_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    update, found = Loop._update, {}

    def watched(self: Loop):
        if self.step + 1 in (EARLY, LATE):
            found[self.step + 1] = held()
        return update(self)

    monkeypatch.setattr(Loop, "_update", watched)
    often = [f"train={{max_steps: {LATE}, log_interval: 10, eval_interval: 20, save_interval: 20, keep_last: 2}}"]
    train(str(small_recipe), [f"output_dir={tmp_path / 'run'}", *often], plain=True)
    assert found[LATE] == found[EARLY]
    assert len(list((tmp_path / "run" / "checkpoints").glob("step-*"))) <= 3
