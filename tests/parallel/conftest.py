"""Runs scripts and commands under horovodrun, and hands back what they left."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

TIMEOUT = 300

Horovodrun = Callable[..., subprocess.CompletedProcess[str]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.parallel)


@pytest.fixture
def horovodrun(tmp_path: Path) -> Horovodrun:
    """Return a function that runs `python ARGUMENTS` on n workers, of Gloo or MPI, and returns the finished process."""
    pytest.importorskip("horovod.torch", reason="Horovod is not installed")

    def run(
        workers: int,
        *arguments: str | Path,
        environment: dict[str, str] | None = None,
        check: bool = True,
        controller: str = "gloo",
    ) -> subprocess.CompletedProcess[str]:
        command = ["horovodrun", "-np", str(workers), f"--{controller}", sys.executable, *map(str, arguments)]
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        finished = subprocess.run(
            command,
            env=os.environ | {"PATH": path, "OMP_NUM_THREADS": "1"} | (environment or {}),
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
        assert not check or finished.returncode == 0, finished.stdout + finished.stderr
        return finished

    return run


@pytest.fixture
def workers_folder() -> Path:
    """The folder of the scripts that run as workers."""
    return Path(__file__).parent / "workers"
