"""Synchronised BatchNorm on real Horovod workers: the layer, and a ResNet that learns with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from hvdtrain.cli.train import train as train_here

SMALL = (
    "model={name: resnet, depth: 8, width: 4, norm: batch, zero_init: false}",
    "data={test_fraction: 0.5, val_fraction: 0.45}",
    "optimizer={name: sgd, lr: 0.05}",
    "lr_scheduler={name: constant}",
    "train={global_batch_size: 12, epochs: 1, precision: fp32, threads_per_worker: 1, eval_interval: 1000}",
    "train={log_interval: 1, sync_batchnorm: true, plots: false}",
)

NAMES = ("at-once", "by-parts")


def train(output: Path, micro_batch_size: int, horovodrun=None, workers: int = 1) -> list[dict]:
    """Train the recipe, shrunken, and return its records."""
    changes = [*SMALL, f"train.micro_batch_size={micro_batch_size}", f"output_dir={output}"]
    if workers > 1:
        horovodrun(workers, "-m", "hvdtrain", "train", "cnn-digits", *changes)
    else:
        train_here("cnn-digits", changes, plain=True)
    return [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]


def losses(records: list[dict]) -> list[float]:
    return [record["loss"] for record in records if record["event"] == "step"]


def weights(output: Path) -> dict[str, torch.Tensor]:
    [path] = (output / "checkpoints").glob("step-*/model.safetensors")
    return load_file(path)


@pytest.mark.parametrize("workers", [2, 3])
def test_it_equals_torchs_on_the_whole_batch(horovodrun, workers_folder: Path, workers: int) -> None:
    finished = horovodrun(workers, workers_folder / "sync_batchnorm.py")
    assert finished.stdout.count("batch norms agree on worker") == workers


@pytest.mark.parametrize(("workers", "micro"), [(2, 2), (3, 1)])
def test_workers_train_a_resnet_as_one_would_in_ragged_batches_too(
    horovodrun, fetched_data: Callable[[str], Path], tmp_path: Path, workers: int, micro: int
) -> None:
    """The last batch of the epoch leaves workers without samples in a pass, in which others have some."""
    fetched_data("digits")
    alone = train(tmp_path / "alone", workers * micro)
    together = train(tmp_path / "together", micro, horovodrun, workers)
    assert alone[0]["train_targets"] % 12 not in (0, 12 - micro)
    assert losses(together) == pytest.approx(losses(alone), rel=2e-4)
    expected = weights(tmp_path / "alone")
    for name, tensor in weights(tmp_path / "together").items():
        torch.testing.assert_close(tensor, expected[name], rtol=2e-3, atol=1e-4, msg=name)


def test_statistics_that_are_each_workers_own_are_resumed(
    horovodrun, fetched_data: Callable[[str], Path], tmp_path: Path
) -> None:
    """Without synchronised BatchNorm; bit for bit, and evaluating and saving at other steps changes nothing."""
    fetched_data("digits")
    steps = ("train.epochs=null", "train.micro_batch_size=3", "train.sync_batchnorm=false", "train.deterministic=true")

    def go(output: Path, end: int, often: int) -> None:
        changes = [f"train.max_steps={end}", f"train.save_interval={often}", f"train.eval_interval={often}"]
        where = f"output_dir={output}"
        horovodrun(2, "-m", "hvdtrain", "train", "cnn-digits", *SMALL, *steps, *changes, "train.keep_last=1", where)

    go(tmp_path / "at-once", 20, 0)
    for end in (13, 20):
        go(tmp_path / "by-parts", end, 3)
    at_once, by_parts = (load_file(tmp_path / name / "checkpoints/step-20/model.safetensors") for name in NAMES)
    assert any(name.endswith("running_var") for name in at_once)
    assert [name for name, tensor in at_once.items() if not torch.equal(by_parts[name], tensor)] == []
