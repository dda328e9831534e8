"""`hvdtrain scale` and `hvdtrain tune` as they are used: real launches, a real interruption, a size that fails."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hvdtrain.metrics.records import PHASES
from hvdtrain.report.study import read_study

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


def run(folder: Path, *arguments: str) -> tuple[int, str]:
    process = start(folder, *arguments)
    output, _ = process.communicate(timeout=300)
    return process.returncode, output


def test_an_interrupted_sweep_goes_on_and_its_parts_sum(tmp_path: Path, small_recipe: Path) -> None:
    sweep = ("scale", str(small_recipe), "--np", "1,3", "--mode", "both", "--repeats", "1", "--steps", "4", "--gloo")
    process = start(tmp_path, *sweep)
    trials = tmp_path / "sweeps" / "small" / "trials.jsonl"
    deadline = time.monotonic() + 120
    while not trials.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "the same command goes on" in output
    before = trials.read_text().splitlines()
    assert 1 <= len(before) < 4

    code, output = run(tmp_path, *sweep)
    assert code == 0, output
    assert trials.read_text().splitlines()[: len(before)] == before
    study = read_study(tmp_path / "sweeps" / "small")
    assert [(size.mode, size.workers, size.global_batch_size) for size in study.sizes] == [
        ("weak", 1, 2), ("weak", 3, 6), ("strong", 1, 12), ("strong", 3, 12),
    ]  # fmt: skip
    for size in study.sizes:
        assert sum(size.split[part] for part in PHASES) == pytest.approx(size.split["step"])
    assert {path.name for path in (tmp_path / "sweeps" / "small").glob("report.*")} == {
        "report.json", "report.md", "report.html", "report.png",
    }  # fmt: skip


def test_a_sweep_that_cannot_run_starts_nothing(tmp_path: Path, small_recipe: Path) -> None:
    code, output = run(tmp_path, "scale", str(small_recipe), "--np", "2,5", "--mode", "strong")
    assert code == 2
    assert "--np 1,2 can" in output
    code, output = run(tmp_path, "scale", str(small_recipe), "--np", "2;4")
    assert code == 2
    assert "expected whole numbers" in output
    assert list(tmp_path.iterdir()) == []


def test_tuning_tries_and_writes_a_recipe_that_runs(tmp_path: Path, small_recipe: Path) -> None:
    tuned = tmp_path / "tuned.yaml"
    code, output = run(
        tmp_path,
        *("tune", str(small_recipe), "-np", "2", "--rounds", "1", "--steps", "4", "--gloo", "--only", "groups"),
        "--write",
        "tuned.yaml",
    )
    assert code == 0, output
    assert "as it stands" in output
    assert "settings" in output
    assert "groups 8" in output
    assert "cycle (ms)" not in output
    code, output = run(tmp_path, "validate", str(tuned))
    assert code == 0, output


def test_a_measured_worker_says_what_it_measured(tmp_path: Path, small_recipe: Path) -> None:
    task = {"recipe": str(small_recipe), "overrides": ["train.global_batch_size=null"], "steps": 3, "seconds": 0.0}
    code, output = run(tmp_path, "trial", json.dumps(task))
    assert code == 0, output
    record = json.loads(output.splitlines()[-1].removeprefix("@hvdtrain "))
    assert len(record["floor"]) == 3
    names = [name for _, _, name in record["gradients"]]
    assert names[0] == "norm.weight"  # nearest to the loss
    assert names[-1] == "embedding.weight"  # tied to the output, it is complete last
    assert [t for _, t, _ in record["gradients"]] == sorted(t for _, t, _ in record["gradients"])
