"""PowerSGD and top-k on real workers: as simulated, resumed bit for bit, and nothing lost between worker counts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from statistics import fmean

import pytest
import torch
from safetensors.torch import load_file

STRATEGIES = {
    "powersgd": "sync={name: powersgd, rank: 2, start_step: 3, cycle_time_ms: 1}",
    "topk": "sync={name: topk, density: 0.05, start_step: 3, cycle_time_ms: 1}",
}


def train(horovodrun, workers: int, recipe: Path, output: Path, *overrides: str) -> None:
    horovodrun(
        workers, "-m", "hvdtrain", "train", recipe, f"output_dir={output}", "lr_scheduler={name: constant}", *overrides
    )


def checkpoint(output: Path, step: int, part: str = "model") -> dict[str, torch.Tensor]:
    return load_file(output / "checkpoints" / f"step-{step}" / f"{part}.safetensors")


def losses(output: Path) -> list[float]:
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if line["event"] == "step"]


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("workers", [2, 3])
def test_updates_follow_a_simulation_and_bytes_a_formula(
    launches, workers_folder: Path, workers: int, name: str
) -> None:
    launches.hold(name, {name: name for name in STRATEGIES}, workers, "-W", "error", workers_folder / "compression.py")


@pytest.mark.parametrize("name", STRATEGIES)
def test_stopped_and_resumed_equals_uninterrupted(horovodrun, small_recipe: Path, tmp_path: Path, name: str) -> None:
    settings = [STRATEGIES[name], "train.deterministic=true", "train.eval_interval=0"]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    train(horovodrun, 2, small_recipe, whole, *settings)
    shutil.copytree(whole, broken)
    shutil.rmtree(broken / "checkpoints" / "step-20")
    train(horovodrun, 2, small_recipe, broken, *settings)
    for part in ("model", "optimizer"):
        expected = checkpoint(whole, 20, part)
        for key, tensor in checkpoint(broken, 20, part).items():
            assert torch.equal(expected[key], tensor), key
    residuals = expected["workers.language_modeling.error_feedback"]
    assert len(residuals) == 2
    assert not torch.equal(residuals[0], residuals[1]), "a residual is a worker's own"


@pytest.fixture(scope="module")
def plain_losses(horovodrun_in, small_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    """Of three workers and a plain all-reduce."""
    output = tmp_path_factory.mktemp("plain")
    train(horovodrun_in(output), 3, small_recipe, output, "train.max_steps=40")
    return losses(output)


# Measured after 40 updates, on the mean of the last five losses, where the plain all-reduce has come from 5.54 to 2.73:
# PowerSGD 0.002 behind, top-k 0.22.
@pytest.mark.parametrize(("name", "margin"), [("powersgd", 0.1), ("topk", 0.4)])
def test_it_learns_and_another_strategy_goes_on(
    horovodrun, small_recipe: Path, tmp_path: Path, plain_losses: list[float], name: str, margin: float
) -> None:
    """Three workers compress, two go on with a plain all-reduce, two compress again."""
    output = tmp_path / "run"
    train(horovodrun, 3, small_recipe, output, STRATEGIES[name], "train.max_steps=40")
    found = losses(output)
    assert fmean(found[35:]) < fmean(plain_losses[35:]) + margin
    train(horovodrun, 2, small_recipe, output, "train.max_steps=45")
    assert not any(key.startswith("workers.") for key in checkpoint(output, 45, "optimizer"))
    train(horovodrun, 2, small_recipe, output, STRATEGIES[name], "train.max_steps=50")
    assert len(losses(output)) == 50
    assert fmean(losses(output)[45:]) < fmean(found[35:])
