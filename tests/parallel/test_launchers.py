"""Every way to start a run leaves the same kind of run directory."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hvdtrain.cli.train import train as train_here

HVDTRAIN = [sys.executable, "-m", "hvdtrain"]


def with_mpi() -> bool:
    """Whether this Horovod speaks MPI; asked in a process of its own, which may then end as it likes."""
    code = "import horovod.torch as hvd; print(hvd.mpi_built())"
    built = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return built.stdout.strip() == "True" and shutil.which("mpirun") is not None


def run(command: list[str], **variables: str) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        command,
        env=os.environ | {"PATH": path} | variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def left(output: Path) -> tuple[set[str], list[tuple[str, int, frozenset[str]]]]:
    """The files of a run, and the event, step and keys of each of its records."""
    files = {str(path.relative_to(output)) for path in output.rglob("*") if path.is_file()}
    records = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    return files, [(record["event"], record["step"], frozenset(record)) for record in records]


@pytest.fixture
def alone(small_recipe: Path, tmp_path: Path) -> Path:
    train_here(str(small_recipe), [f"output_dir={tmp_path / 'alone'}"], plain=True)
    return tmp_path / "alone"


def test_launch_leaves_what_one_process_does(small_recipe: Path, tmp_path: Path, alone: Path) -> None:
    output = tmp_path / "launched"
    finished = run([*HVDTRAIN, "launch", "-np", "2", "--gloo", str(small_recipe), f"output_dir={output}"])
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert left(output) == left(alone)
    assert "2 workers" in finished.stdout
    assert "@hvdtrain" not in finished.stdout
    assert "bus bandwidth" in finished.stdout


@pytest.mark.mpi
@pytest.mark.parametrize("launcher", ["mpirun", "launch"])
def test_mpi_leaves_what_one_process_does(small_recipe: Path, tmp_path: Path, alone: Path, launcher: str) -> None:
    if not with_mpi():
        pytest.skip("Horovod was built without MPI, or there is no mpirun")
    output = tmp_path / "mpi"
    mpirun = ["mpirun", "--allow-run-as-root", "--oversubscribe", "-np", "2", *HVDTRAIN, "train"]
    command = mpirun if launcher == "mpirun" else [*HVDTRAIN, "launch", "--mpi", "-np", "2"]
    finished = run([*command, str(small_recipe), f"output_dir={output}"])
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert left(output) == left(alone)


def test_launch_refuses_before_it_starts_anything(small_recipe: Path, tmp_path: Path) -> None:
    finished = run([*HVDTRAIN, "launch", "-np", "5", str(small_recipe), f"output_dir={tmp_path / 'none'}"])
    assert finished.returncode == 2
    assert "not a multiple of 10" in finished.stderr
    assert not (tmp_path / "none").exists()


def test_without_horovod_several_workers_are_refused_in_one_line(small_recipe: Path, tmp_path: Path) -> None:
    """The package is hidden by a module of its name that can't be imported."""
    (tmp_path / "horovod.py").write_text("raise ImportError('hidden')")
    command = [*HVDTRAIN, "train", str(small_recipe), f"output_dir={tmp_path / 'run'}"]
    finished = run(command, PYTHONPATH=str(tmp_path), HOROVOD_SIZE="2", HOROVOD_RANK="0")
    assert finished.returncode == 2
    assert finished.stderr.startswith("error: this run has 2 workers, which needs Horovod")
    assert len(finished.stderr.splitlines()) == 1
    assert run(command, PYTHONPATH=str(tmp_path)).returncode == 0
