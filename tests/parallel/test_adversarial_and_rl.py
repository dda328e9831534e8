"""Two phases and rollouts on real workers: a GAN and PPO, shrunken, compute with two and three what one computes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from hvdtrain.cli.train import train as train_here

COMMON = (
    "train.precision=fp32",
    "train.threads_per_worker=1",
    "train.log_interval=1",
    "train.plots=false",
    "lr_scheduler={name: constant}",
    "sync.cycle_time_ms=1",
)
GAN = (
    "model={z_dim: 8, width: 8}",
    "optimizer={name: sgd, lr: 1e-2}",  # Adam makes a whole step of a gradient that is nothing but rounding
    "train.global_batch_size=12",
    "train.micro_batch_size=2",
    "train.max_steps=6",
    "train.eval_interval=6",
    "train.eval_samples=61",
    "train.save_interval=0",
    *COMMON,
)
BATCH_NORM = ("model={norm: batch, discriminator_norm: batch}", "train.sync_batchnorm=true")
# Four updates a rollout, so that twelve see three rollouts, two of them of policies that the workers have learned.
PPO = (
    "data={environments: 6, eval_episodes: 7}",
    "task={rollout_steps: 16, epochs: 2}",
    "model={hidden: [16]}",
    "train.global_batch_size=48",
    "train.micro_batch_size=8",
    "train.max_steps=12",
    "train.eval_interval=6",
    "train.save_interval=0",
    *COMMON,
)


def train(horovodrun, workers: int, recipe: str, output: Path, *changes: str) -> list[dict]:
    """Train, in this process where there is one worker; return the records."""
    if workers > 1:
        horovodrun(workers, "-m", "hvdtrain", "train", recipe, f"output_dir={output}", *changes)
    else:
        train_here(recipe, [f"output_dir={output}", *changes], plain=True)
    return [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]


def losses(records: list[dict]) -> list[list[float]]:
    """The loss of each update, and those of its phases where it has several."""
    return [[r["loss"], *r["losses"].values(), r["grad_norm"]] for r in records if r["event"] == "step"]


def metrics(records: list[dict]) -> list[dict[str, float]]:
    return [record["metrics"] for record in records if record["event"] == "eval"]


def weights(output: Path, step: int) -> dict[str, torch.Tensor]:
    return load_file(output / "checkpoints" / f"step-{step}" / "model.safetensors")


def assert_same(found: list[list[float]], expected: list[list[float]], rel: float = 1e-5) -> None:
    """float32 sums in another order differ by some 1e-7 of their terms, and the losses cancel to a tenth of theirs."""
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours == pytest.approx(theirs, rel=rel, abs=1e-6)


@pytest.fixture
def digits(fetched_data: Callable[[str], Path]) -> None:
    """MNIST's digits in the tests' cache."""
    fetched_data("mnist_5k")


@pytest.mark.usefixtures("digits")
def test_workers_train_the_two_networks_of_a_gan_as_one_would(horovodrun, tmp_path: Path) -> None:
    alone = train(horovodrun, 1, "gan-mnist", tmp_path / "alone", *GAN)
    expected = losses(alone)
    assert all(len(update) == 4 for update in expected), "both networks report a loss"
    for workers in (2, 3):
        output = tmp_path / str(workers)
        together = train(horovodrun, workers, "gan-mnist", output, *GAN)
        assert_same(losses(together), expected)
        assert metrics(together)[-1] == pytest.approx(metrics(alone)[-1], rel=1e-4)
        assert (output / "samples" / "step-6.png").stat().st_size > 0
        before = weights(tmp_path / "alone", 6)
        for name, tensor in weights(output, 6).items():
            torch.testing.assert_close(tensor, before[name], rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.usefixtures("digits")
def test_batchnorm_over_all_workers_trains_a_gan_as_one_would(horovodrun, tmp_path: Path) -> None:
    """One worker's pass is then the global batch, and so are the two workers' passes together. Each norm divides by a
    deviation over twelve samples, and hands rounding on enlarged."""
    alone = train(horovodrun, 1, "gan-mnist", tmp_path / "alone", *GAN, *BATCH_NORM, "train.micro_batch_size=12")
    together = train(horovodrun, 2, "gan-mnist", tmp_path / "two", *GAN, *BATCH_NORM, "train.micro_batch_size=6")
    assert_same(losses(together), losses(alone), rel=1e-4)
    for name, tensor in weights(tmp_path / "two", 6).items():
        if "running" in name:
            torch.testing.assert_close(tensor, weights(tmp_path / "alone", 6)[name], rtol=1e-4, atol=1e-6, msg=name)


def test_workers_act_and_learn_as_one_would_and_hand_over_in_a_rollout(horovodrun, tmp_path: Path) -> None:
    """Three workers begin, and stop between two updates of one rollout; two go on from there."""
    pytest.importorskip("gymnasium")
    alone = train(horovodrun, 1, "ppo-cartpole", tmp_path / "alone", *PPO)
    output = tmp_path / "together"
    first = train(horovodrun, 3, "ppo-cartpole", output, *PPO, "train.max_steps=6")
    assert_same(losses(first), losses(alone)[:6])
    together = train(horovodrun, 2, "ppo-cartpole", output, *PPO)
    [resize] = [record for record in together if record["event"] == "resize"]
    assert (resize["before"], resize["after"]) == (3, 2)
    assert_same(losses(together), losses(alone))
    assert metrics(together) == [pytest.approx(expected, rel=1e-6) for expected in metrics(alone)]
    assert len({tuple(update) for update in losses(together)}) == 12
