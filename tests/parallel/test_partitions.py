"""Partitions on real workers: nothing lost or repeated, and training on parts is what one process computes on them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hvdtrain.cli.train import train as train_here

RECIPE = """\
name: parts
seed: 11
task: {name: classification}
model: {name: mlp, hidden_dims: [6]}
data: {name: csv, paths: [PATHS], target: label, val_fraction: 0.2, test_fraction: 0, partition: {name: shard}}
optimizer: {name: sgd, lr: 0.1}
lr_scheduler: {name: constant}
sync: {name: allreduce, cycle_time_ms: 1}
train:
  global_batch_size: 12
  micro_batch_size: 2
  epochs: 2
  precision: fp32
  eval_interval: 5
  eval_samples: 9
  save_interval: 0
  log_interval: 1
  plots: false
  threads_per_worker: 1
"""
SIZES = (50, 9, 20)
"""Rows of each file: so unequal that workers wait, and have passes without samples."""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    paths = []
    for number, size in enumerate(SIZES):
        rows = [f"{i % 5},{i * 7 % 11 - number},{'abc'[(i + i // 3 + number) % 3]}\n" for i in range(size)]
        paths.append(tmp_path / f"{number}.csv")
        paths[-1].write_text("x,z,label\n" + "".join(rows))
    path = tmp_path / "parts.yaml"
    path.write_text(RECIPE.replace("PATHS", ", ".join(map(str, paths))))
    return path


@pytest.mark.parametrize("workers", [2, 3])
def test_every_sample_is_dealt_once_and_promises_hold(horovodrun, workers_folder: Path, workers: int) -> None:
    finished = horovodrun(workers, workers_folder / "partitions.py")
    assert finished.stdout.count("partitions hold on worker") == workers


def test_one_process_computes_on_the_parts_of_three_workers_what_they_do(
    horovodrun, recipe: Path, tmp_path: Path
) -> None:
    horovodrun(3, "-m", "hvdtrain", "train", recipe, f"output_dir={tmp_path}/three")
    train_here(str(recipe), [f"output_dir={tmp_path}/one", "data.partition.parts=3"], plain=True)
    three, one = (records(tmp_path / name) for name in ("three", "one"))
    updates = [record for record in one if record["event"] == "step"]
    assert len(updates) > 2 * -(-sum(SIZES) // 12), "the largest file alone takes more updates than equal parts would"
    keys = ("loss", "grad_norm", "samples")
    assert [[r[key] for key in keys] for r in three if r["event"] == "step"] == [
        pytest.approx([r[key] for key in keys], rel=1e-5) for r in updates
    ]
    assert [r["metrics"] for r in three if r["event"] == "eval"] == [
        pytest.approx(r["metrics"], rel=1e-5) for r in one if r["event"] == "eval"
    ]


def records(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
