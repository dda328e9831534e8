"""Runs scripts and commands under horovodrun, and hands back what they left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

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
        command = [
            "horovodrun",
            "-np",
            str(workers),
            f"--{controller}",
            "--disable-cache",
            sys.executable,
            *map(str, arguments),
        ]
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


@pytest.fixture(scope="session")
def horovodrun_in() -> Callable[[Path], Horovodrun]:
    """`runs_in` itself, for what several tests of a module share."""
    return runs_in


@pytest.fixture
def horovodrun(tmp_path: Path) -> Horovodrun:
    """`runs_in` the test's folder."""
    return runs_in(tmp_path)


class Launch(NamedTuple):
    """What a script of many cases (workers/cases.py) left."""

    finished: subprocess.CompletedProcess[str]
    told: list[dict[str, str]]
    """For each worker, what is wrong with each case that it has done; nothing where it holds."""


class Launches:
    """Scripts of many cases, each started when the first of its cases is asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._launches: dict[tuple[object, ...], Launch] = {}

    def hold(
        self, case: str, cases: Mapping[str, Any], workers: int, *arguments: str | Path, controller: str = "gloo"
    ) -> None:
        """Assert that `case` holds on all workers of `python ARGUMENTS CASES`, and that the launch ended as it should.

        A launch ends well unless one of its cases fails: then that case's test says so, not those of the others.
        """
        key = (json.dumps(cases), workers, arguments, controller)
        if key not in self._launches:
            self._launches[key] = self._start(key[0], workers, arguments, controller)
        finished, told = self._launches[key]
        whole = finished.stdout + finished.stderr
        problems = [f"worker {rank}: {mine[case]}" for rank, mine in enumerate(told) if mine.get(case)]
        if problems:
            pytest.fail("\n".join(problems))
        assert [rank for rank, mine in enumerate(told) if case not in mine] == [], (
            f"workers did not get to it:\n{whole}"
        )
        if not any(any(mine.values()) or mine.keys() != cases.keys() for mine in told):
            assert finished.returncode == 0, whole

    def _start(self, cases: str, workers: int, arguments: tuple[str | Path, ...], controller: str) -> Launch:
        folder = self._folder / str(len(self._launches))
        folder.mkdir()
        try:
            finished = runs_in(folder)(workers, *arguments, cases, check=False, controller=controller)
        except subprocess.TimeoutExpired as expired:
            # Once is enough: all cases share it.
            parts = [part.decode() if isinstance(part, bytes) else part for part in (expired.stdout, expired.stderr)]
            finished = subprocess.CompletedProcess(expired.cmd, 124, parts[0] or "", f"{parts[1]}\n{expired}")
        left = [folder / f"worker-{rank}.json" for rank in range(workers)]
        return Launch(finished, [json.loads(path.read_text()) if path.exists() else {} for path in left])


@pytest.fixture(scope="module")
def launches(tmp_path_factory: pytest.TempPathFactory) -> Launches:
    return Launches(tmp_path_factory.mktemp("launches"))


@pytest.fixture
def workers_folder() -> Path:
    """The folder of the scripts that run as workers."""
    return Path(__file__).parent / "workers"


class Job(NamedTuple):
    """A `hvdtrain launch --plain` with faults planted, and what to add to the environment."""

    command: list[str]
    environment: dict[str, str]


@pytest.fixture
def faulty_job(small_recipe: Path, workers_folder: Path, tmp_path: Path) -> Callable[..., Job]:
    """Return a function that makes a `Job` of faults as workers/faulty has them, of the small recipe or another.

    Its output directory is `run`, and the account of what was loaded in `audit`; of another output, `audit-OUTPUT`.
    """
    (tmp_path / "marks").mkdir()

    def make(
        workers: int,
        faults: list[dict[str, Any]],
        *flags: str,
        changes: tuple[str, ...] = (),
        output: str = "run",
        recipe: str | Path = small_recipe,
    ) -> Job:
        command = [sys.executable, "-m", "hvdtrain", "launch", "--plain", "-np", str(workers), *flags]
        where = f"output_dir={tmp_path / output}"
        audit = tmp_path / ("audit" if output == "run" else f"audit-{output}")
        audit.mkdir()
        environment = {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(workers_folder / "faulty"),
            "PLANTED": json.dumps(faults),
            "MARKS": str(tmp_path / "marks"),
            "AUDIT": str(audit),
            "OMP_NUM_THREADS": "1",
        }
        changed = [where, "train.max_steps=30", "train.deterministic=true", *changes]
        return Job([*command, str(recipe), *changed], environment)

    return make


@pytest.fixture
def faulty_launch(faulty_job: Callable[..., Job]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a `faulty_job` to its end."""

    def start(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
        command, environment = faulty_job(*arguments, **options)
        return subprocess.run(
            command,
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )

    return start
