"""Each cause of bad scaling is created on purpose, with real workers, and must be the first that is named."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from namespaces import Lab, lab_problem

FAULTS = Path(__file__).parent / "faults"
SWEEP = (
    "gpt-shakespeare", "--synthetic", "--gloo", "--np", "1,2", "--repeats", "1", "--steps", "8", "--plain",
    "--no-all-cores",
)  # fmt: skip
MEDIUM = ("model.n_layers=2", "train.precision=fp32", "sync.cycle_time_ms=10")

pytest.importorskip("horovod.torch", reason="Horovod is not installed")


def scale(folder: Path, *arguments: str, fault: str = "") -> dict[str, Any]:
    """Run a sweep of one and two workers through the command line, and return its report."""
    done = subprocess.run(
        [sys.executable, "-m", "hvdtrain", "scale", *SWEEP, "-o", str(folder / "sweep"), *arguments],
        env=os.environ | {"HVDTRAIN_TEST_FAULT": fault, "PYTHONPATH": str(FAULTS) if fault else ""},
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report: dict[str, Any] = json.loads((folder / "sweep" / "report.json").read_text())
    return report


def first(report: dict[str, Any]) -> dict[str, Any]:
    (diagnosis,) = report["diagnoses"]
    found: dict[str, Any] = diagnosis["findings"][0]
    return found


TINY_TENSORS = ("model.n_layers=40", "model.d_model=16", "model.n_heads=2", "train.micro_batch_size=4")
LITTLE = ("model.d_model=64", "data.max_seq_len=16", "train.micro_batch_size=1", "train.global_batch_size=2")


@pytest.mark.parametrize(
    ("cause", "fault", "changes"),
    [
        ("slow-data", "slow-data", MEDIUM),
        ("slow-worker", "sleeping-worker", MEDIUM),
        ("slow-worker", "busy-core", MEDIUM),
        ("contention", "helpers", MEDIUM),
        ("short-cycle", "", (*MEDIUM, "sync.cycle_time_ms=0.1")),
        ("long-cycle", "", (*MEDIUM, "sync.cycle_time_ms=500")),
        ("no-fusion", "", (*MEDIUM, *TINY_TENSORS, "sync.fusion_threshold_mb=0")),
        ("oversubscription", "", (*MEDIUM, "train.threads_per_worker=8")),
        ("little-work", "", (*MEDIUM, *LITTLE, "sync.cycle_time_ms=1")),
    ],
)
def test_a_planted_cause_is_named_first(tmp_path: Path, cause: str, fault: str, changes: tuple[str, ...]) -> None:
    report = scale(tmp_path, *changes, fault=fault)
    found = first(report)
    assert found["cause"] == cause, report["diagnoses"]
    if cause == "slow-worker":
        assert found["title"].startswith("Worker 1 is slow")
    if cause == "oversubscription":
        assert all(size["oversubscribed"] for size in report["sizes"])


@pytest.mark.namespaces
@pytest.mark.skipif(lab_problem() is not None, reason=f"no hosts can be made: {lab_problem()}")
def test_a_thin_link_between_two_hosts_is_named_first(tmp_path: Path) -> None:
    with Lab(hosts=2, rate="200mbit", cores=["0", "1"]) as lab:
        place = ("-H", lab.slots(1), "--network-interfaces=eth0")
        command = [sys.executable, "-m", "hvdtrain", "scale", *SWEEP, "-o", str(tmp_path / "sweep"), *place, *MEDIUM]
        done = lab.run("a", command, env={"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "sweep" / "report.json").read_text())
    assert [size["hosts"] for size in report["sizes"]] == [1, 2]
    assert first(report)["cause"] == "thin-link", report["diagnoses"]
    # 200 Mbit/s are 25 MB/s: of two workers each sends and receives all bytes once.
    assert report["sizes"][1]["link_bandwidth"] == pytest.approx(25e6, rel=0.15)


def test_a_healthy_run_is_told_that_nothing_is_worth_changing(tmp_path: Path) -> None:
    report = scale(tmp_path, "train.precision=fp32")
    (diagnosis,) = report["diagnoses"]
    assert diagnosis["findings"] == [], diagnosis
    assert diagnosis["verdict"].startswith("Nothing is worth changing")
