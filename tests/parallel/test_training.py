"""`hvdtrain train` on real workers: what one worker computes, two and three compute."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from hvdtrain.cli.train import train as train_here


def train(horovodrun, workers: int, recipe: Path, output: Path, *overrides: str) -> None:
    if workers > 1:
        horovodrun(workers, "-m", "hvdtrain", "train", recipe, f"output_dir={output}", *overrides)
    else:
        train_here(str(recipe), [f"output_dir={output}", *overrides], plain=True)


def records(output: Path, event: str) -> list[dict]:
    lines = (output / "metrics.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["event"] == event]


def weights(output: Path, step: int = 20) -> dict[str, torch.Tensor]:
    return load_file(output / "checkpoints" / f"step-{step}" / "model.safetensors")


@pytest.fixture
def alone(horovodrun, small_recipe: Path, tmp_path: Path) -> Path:
    output = tmp_path / "alone"
    train(horovodrun, 1, small_recipe, output)
    return output


@pytest.mark.parametrize("workers", [2, 3])
def test_workers_compute_what_one_would(
    horovodrun, small_recipe: Path, tmp_path: Path, alone: Path, workers: int
) -> None:
    output = tmp_path / "together"
    train(horovodrun, workers, small_recipe, output)
    expected, found = records(alone, "step"), records(output, "step")
    # float32: the gradient's sum is made in another order, a relative error of about n x 2^-24 an update; AdamW
    # divides by the root of its second moment, which keeps relative errors but not those of gradients near zero. After
    # 20 updates of a rate of 3e-3 the losses differ in the sixth digit, and a weight by less than 1e-4, a thirtieth of
    # one update.
    assert [r["loss"] for r in found] == pytest.approx([r["loss"] for r in expected], rel=1e-5)
    assert [r["tokens"] for r in found] == [r["tokens"] for r in expected]
    for name, tensor in weights(alone).items():
        torch.testing.assert_close(weights(output)[name], tensor, rtol=0, atol=1e-4)
    for theirs, ours in zip(records(alone, "eval"), records(output, "eval"), strict=True):
        assert ours["metrics"] == pytest.approx(theirs["metrics"], rel=1e-5)
        assert ours["samples"] == theirs["samples"]


def test_the_parts_of_a_step_sum_to_it(horovodrun, small_recipe: Path, tmp_path: Path) -> None:
    train(horovodrun, 2, small_recipe, tmp_path / "run")
    assert not (tmp_path / "run" / "report.png").exists()
    for record in records(tmp_path / "run", "step"):
        parts = record["seconds"]
        assert sum(parts.values()) == pytest.approx(2 * parts["step"])
        assert all(value >= 0 for value in parts.values())


def test_epochs_end_raggedly_and_lose_nothing(horovodrun, small_recipe: Path, tmp_path: Path) -> None:
    """With three workers of two samples a pass, one worker has none at the end."""
    output = tmp_path / "run"
    train(horovodrun, 3, small_recipe, output, "train.max_steps=null", "train.epochs=1", "train.plots=true")
    assert (output / "report.png").exists()
    [start], last = records(output, "start"), records(output, "step")[-1]
    samples = -(-start["train_targets"] // 16)
    assert samples % 12, "the corpus must not divide, or this shows nothing"
    assert last["samples"] in (samples, samples - 1)
    assert last["tokens"] == start["train_targets"]


def test_stopped_and_resumed_equals_uninterrupted(horovodrun, small_recipe: Path, tmp_path: Path) -> None:
    """SIGTERM, as a cluster sends it: the workers agree on a step, save, and go on from there bit for bit."""
    settings = ["train.deterministic=true", "train.max_steps=120", "train.log_interval=5", "train.eval_interval=0"]
    train(horovodrun, 2, small_recipe, tmp_path / "whole", *settings)
    broken = tmp_path / "broken"
    command = ["horovodrun", "-np", "2", "--gloo", sys.executable, "-m", "hvdtrain", "train", str(small_recipe)]
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    job = subprocess.Popen([*command, f"output_dir={broken}", *settings], env=environment, stdout=subprocess.DEVNULL)
    metrics = broken / "metrics.jsonl"
    while job.poll() is None and not (metrics.exists() and '"step": 10,' in metrics.read_text()):
        time.sleep(0.05)
    job.send_signal(signal.SIGTERM)
    job.wait(timeout=60)
    [end] = records(broken, "end")
    assert end["reason"] == "stopped"
    assert 10 <= end["step"] < 120
    train(horovodrun, 2, small_recipe, broken, *settings)
    assert records(broken, "start")[-1]["resumed_from"] == end["checkpoint"]
    for name, tensor in weights(tmp_path / "whole", 120).items():
        assert torch.equal(weights(broken, 120)[name], tensor)
    whole = {r["step"]: r["loss"] for r in records(tmp_path / "whole", "step")}
    after = {r["step"]: r["loss"] for r in records(broken, "step") if r["step"] > end["step"] + 5}
    assert after
    assert after.items() <= whole.items()


@pytest.mark.parametrize(("fault", "expected"), [("raise", "the planted fault"), ("refuse", "the planted data error")])
def test_an_error_of_one_worker_ends_all_and_is_said_once(
    horovodrun, workers_folder: Path, small_recipe: Path, tmp_path: Path, fault: str, expected: str
) -> None:
    script = workers_folder / "train_with_fault.py"
    finished = horovodrun(2, script, fault, 1, 7, "train", small_recipe, f"output_dir={tmp_path / 'run'}", check=False)
    assert finished.returncode != 0
    assert (finished.stdout + finished.stderr).count(expected) == 1


def test_a_loss_that_is_no_number_names_step_worker_and_checkpoint(
    horovodrun, workers_folder: Path, small_recipe: Path, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    script = workers_folder / "train_with_fault.py"
    finished = horovodrun(2, script, "nan", 1, 15, "train", small_recipe, f"output_dir={output}", check=False)
    assert finished.returncode != 0
    told = finished.stdout + finished.stderr
    assert told.count("step 15: non-finite loss on worker 1") == 1
    assert f"last good checkpoint: {output / 'checkpoints' / 'step-10'}" in told
    assert max(r["step"] for r in records(output, "step")) == 14


def test_a_weight_that_changed_on_one_worker_is_named_before_anything_is_saved(
    horovodrun, workers_folder: Path, small_recipe: Path, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    script = workers_folder / "train_with_fault.py"
    finished = horovodrun(3, script, "bit", 1, 15, "train", small_recipe, f"output_dir={output}", check=False)
    assert finished.returncode != 0
    told = finished.stdout + finished.stderr
    assert told.count("step 20: the workers' models are no longer alike") == 1
    assert "blocks.1.attention_norm.weight of worker 1 is not worker 0's" in told
    assert f"last good checkpoint: {output / 'checkpoints' / 'step-10'}" in told
    assert [path.name for path in (output / "checkpoints").iterdir() if path.is_dir()] == ["step-10"]


def test_a_checkpoint_of_another_batch_is_refused(horovodrun, small_recipe: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    train(horovodrun, 1, small_recipe, output, "train.global_batch_size=null", "train.max_steps=4")
    finished = horovodrun(
        2, "-m", "hvdtrain", "train", small_recipe, f"output_dir={output}", "train.global_batch_size=null", check=False
    )
    assert finished.returncode != 0
    told = finished.stdout + finished.stderr
    assert told.count("set train.global_batch_size=2 train.micro_batch_size=1 to continue it with 2 workers") == 1
    assert "<stderr>:Traceback" not in told, "horovodrun ends with a traceback of its own; a worker must not"


def test_another_number_of_workers_goes_on_with_the_same_samples(
    horovodrun, small_recipe: Path, tmp_path: Path, alone: Path
) -> None:
    output = tmp_path / "run"
    train(horovodrun, 3, small_recipe, output, "train.max_steps=10", "lr_scheduler={name: constant}")
    train(horovodrun, 2, small_recipe, output, "train.max_steps=20", "lr_scheduler={name: constant}")
    reference = tmp_path / "reference"
    train(horovodrun, 1, small_recipe, reference, "lr_scheduler={name: constant}")
    [resize] = records(output, "resize")
    assert (resize["before"], resize["after"]) == (3, 2)
    losses = [r["loss"] for r in records(output, "step")]
    assert losses == pytest.approx([r["loss"] for r in records(reference, "step")], rel=1e-5)


def test_workers_do_not_import_torchs_compiler(
    horovodrun, workers_folder: Path, small_recipe: Path, tmp_path: Path
) -> None:
    """Whatever a step calls must not: it is a second, and 60 MB of each. What is imported for good stands beside it."""
    names = "torch._dynamo,sympy,pandas,matplotlib,horovod.torch"
    changes = ["optimizer={name: sgd, lr: 0.1, momentum: 0.9}", "train.max_steps=2", f"output_dir={tmp_path / 'run'}"]
    horovodrun(2, workers_folder / "imported.py", names, "train", small_recipe, *changes)
    assert [(tmp_path / f"imported-{rank}").read_text() for rank in range(2)] == 2 * ["horovod.torch"]
