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
