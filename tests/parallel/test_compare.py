"""`hvdtrain compare` as it is used: two real workers, each registered strategy, an interruption."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hvdtrain import registry
from hvdtrain.metrics.strategies import Comparison

pytest.importorskip("horovod.torch", reason="Horovod is not installed")


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "hvdtrain", *arguments],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(folder: Path, *arguments: str) -> str:
    process = start(folder, *arguments)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return output


@pytest.mark.alone  # it counts what the machine sends
def test_what_a_comparison_says_of_a_strategy_is_what_a_training_run_reaches(
    tmp_path: Path, small_recipe: Path
) -> None:
    recipe = str(small_recipe)
    run(tmp_path, "compare", recipe, "-np", "2", "--gloo", "--sync", "allreduce,sharded", "--steps", "10",
        "--rounds", "1", "--output", "found")  # fmt: skip
    found = Comparison.model_validate_json((tmp_path / "found" / "comparison.json").read_bytes())
    results = {one.strategy: one for one in found.results}
    allreduce, sharded, floor = (results.pop(name) for name in ("allreduce", "sharded", "none"))
    assert not results

    # One worker that trains the same ten updates, with the same schedule, gets there too.
    run(tmp_path, "train", recipe, "--plain", "train.early_stopping=null", f"output_dir={tmp_path}/alone")
    records = [json.loads(line) for line in (tmp_path / "alone" / "metrics.jsonl").read_text().splitlines()]
    loss = next(one["metrics"]["loss"] for one in records if one["event"] == "eval" and one["step"] == 10)
    train_loss = next(one["loss"] for one in records if one["event"] == "step" and one["step"] == 10)
    for one in (allreduce, sharded):
        assert one.validation.median == pytest.approx(loss, rel=1e-5)
        assert one.train_loss.median == pytest.approx(train_loss, rel=1e-5)
    # Workers apart see half of the data each: they do not.
    assert floor.validation.median != pytest.approx(loss, rel=1e-4)
    assert not floor.coupled

    bytes_of_parameters = 4 * found.parameters
    assert allreduce.bytes_per_step == bytes_of_parameters
    assert allreduce.state_bytes[0] == pytest.approx(2 * bytes_of_parameters, rel=0.01)
    assert sharded.state_bytes[0] == pytest.approx(bytes_of_parameters, rel=0.01)
    # A ring of two sends as much as the gradients have; what the system counted has the engine's messages in it.
    assert bytes_of_parameters < allreduce.sent_bytes < 2 * bytes_of_parameters
    assert floor.sent_bytes < 0.2 * bytes_of_parameters
    assert min(allreduce.memory_bytes) > 50e6


def test_every_registered_strategy_is_measured_or_says_why_not(tmp_path: Path, small_recipe: Path) -> None:
    run(tmp_path, "compare", str(small_recipe), "-np", "2", "--gloo", "--steps", "4", "--warmup", "1", "--rounds", "1",
        "-o", "all")  # fmt: skip
    found = Comparison.model_validate_json((tmp_path / "all" / "comparison.json").read_bytes())
    told = {one.strategy for one in found.results} | {one.strategy for one in found.refused}
    assert told == set(registry.names("sync"))
    assert all(one.message and not one.failed for one in found.refused)


def test_an_interrupted_comparison_shows_what_there_is(tmp_path: Path, small_recipe: Path) -> None:
    process = start(
        tmp_path,
        *("compare", str(small_recipe), "-np", "2", "--gloo", "--sync", "allreduce", "--rounds", "50", "-o", "some"),
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("[2/"):
            break
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "interrupted" in output
    assert (tmp_path / "some" / "comparison.html").exists()


def test_a_run_that_does_not_synchronise_says_so(tmp_path: Path, small_recipe: Path) -> None:
    output = run(
        tmp_path, "launch", "-np", "2", "--gloo", "--plain", str(small_recipe), "sync.name=none", "train.max_steps=2",
        "output_dir=apart",
    )  # fmt: skip
    mark = "2 separate models, losses are their mean"
    assert f"not synchronised: {mark}" in output
    for name in ("report.md", "report.html", "report.json"):
        assert mark in (tmp_path / "apart" / name).read_text(), name
