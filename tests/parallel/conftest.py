"""Runs scripts and commands under horovodrun, and hands back what they left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

TIMEOUT = 300

Horovodrun = Callable[..., subprocess.CompletedProcess[str]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.parallel)


def runs_in(folder: Path) -> Horovodrun:
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
            cwd=folder,
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
def horovodrun(tmp_path: Path) -> Horovodrun:
    """`runs_in` the test's folder."""
    return runs_in(tmp_path)


class Launches:
    """Scripts that hold many cases in one launch (workers/cases.py), each started when the first case is asked for."""

    def __init__(self, folder: Path) -> None:
        self._run = runs_in(folder)
        self._finished: dict[tuple[object, ...], subprocess.CompletedProcess[str]] = {}

    def hold(
        self, case: str, cases: Mapping[str, Any], workers: int, *arguments: str | Path, controller: str = "gloo"
    ) -> None:
        """Assert that `case` holds on all workers of `python ARGUMENTS CASES`, and that the launch ended as it should.

        A launch ends well unless one of its cases fails: then that case's test says so, not those of the others.
        """
        key = (json.dumps(cases), workers, arguments, controller)
        if key not in self._finished:
            self._finished[key] = self._start(key[0], workers, arguments, controller)
        finished = self._finished[key]
        told = {name: self._told(name, finished.stdout) for name in cases}
        whole = finished.stdout + finished.stderr
        mine = told[case]
        holds = {f"holds on worker {rank}" for rank in range(workers)}
        assert set(mine) == holds, "\n".join(line for line in mine if line not in holds) or whole
        assert len(mine) == workers, whole
        assert finished.returncode == 0 or any(set(lines) != holds for lines in told.values()), whole

    def _start(
        self, cases: str, workers: int, arguments: tuple[str | Path, ...], controller: str
    ) -> subprocess.CompletedProcess[str]:
        try:
            return self._run(workers, *arguments, cases, check=False, controller=controller)
        except subprocess.TimeoutExpired as expired:
            # Once is enough: all cases of the launch share it.
            parts = [p.decode() if isinstance(p, bytes) else p or "" for p in (expired.stdout, expired.stderr)]
            return subprocess.CompletedProcess(expired.cmd, 124, parts[0], f"{parts[1]}\n{expired}")

    @staticmethod
    def _told(case: str, output: str) -> list[str]:
        begin = f"case {case} "
        return [line.split(begin, 1)[1] for line in output.splitlines() if begin in line]


@pytest.fixture(scope="module")
def launches(tmp_path_factory: pytest.TempPathFactory) -> Launches:
    return Launches(tmp_path_factory.mktemp("launches"))


@pytest.fixture
def workers_folder() -> Path:
    """The folder of the scripts that run as workers."""
    return Path(__file__).parent / "workers"
