"""Workers that are lost and hosts that come, under real horovodrun.

Hosts are namespaces where that matters, else two names of this machine.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from namespaces import Lab, lab_problem

from hvdtrain.data.loader import make_loader
from hvdtrain.launch.facts import horovod_controllers
from hvdtrain.recipe import load
from hvdtrain.train import checkpoint
from hvdtrain.train.assemble import prepare_for
from hvdtrain.train.checkpoint_diff import diff

pytest.importorskip("horovod.torch", reason="Horovod is not installed")

Launch = Callable[..., subprocess.CompletedProcess[str]]
BATCH = 12


class Job(NamedTuple):
    command: list[str]
    environment: dict[str, str]


@pytest.fixture
def job(small_recipe: Path, workers_folder: Path, tmp_path: Path) -> Callable[..., Job]:
    """Return a function that makes a `hvdtrain launch --plain` with faults planted.

    Its output directory is `run`, and the account of what was loaded in `audit`.
    """
    for name in ("marks", "audit"):
        (tmp_path / name).mkdir()

    def make(workers: int, faults: list[dict], *flags: str, changes: tuple[str, ...] = (), output: str = "run") -> Job:
        command = [sys.executable, "-m", "hvdtrain", "launch", "--plain", "-np", str(workers), *flags]
        where = f"output_dir={tmp_path / output}"
        environment = {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(workers_folder / "faulty"),
            "PLANTED": json.dumps(faults),
            "MARKS": str(tmp_path / "marks"),
            "AUDIT": str(tmp_path / "audit"),
            "OMP_NUM_THREADS": "1",
        }
        changed = [where, "train.max_steps=30", "train.deterministic=true", *changes]
        return Job([*command, str(small_recipe), *changed], environment)

    return make


@pytest.fixture
def launch(job: Callable[..., Job]) -> Launch:
    """Run a `job` to its end."""

    def start(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
        command, environment = job(*arguments, **options)
        return subprocess.run(
            command,
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )

    return start


def hosts(folder: Path, *names: str) -> tuple[str, Path]:
    """Return a program that prints the hosts in a file, and the file."""
    file, script = folder / "hosts", folder / "discover"
    file.write_text("".join(f"{name}:1\n" for name in names))
    script.write_text(f"#!/bin/sh\ncat {file}\n")
    script.chmod(0o755)
    return str(script), file


def records(output: Path, event: str) -> list[dict]:
    lines = (output / "metrics.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["event"] == event]


def loads(folder: Path) -> list[dict]:
    """What any worker loaded, in the order of time."""
    lines = [json.loads(line) for file in folder.iterdir() for line in file.read_text().splitlines()]
    return sorted(lines, key=lambda line: line["time"])


def check_account(recipe: Path, folder: Path, steps: int, lost_steps: int) -> None:
    """Each place in the order was trained on with the sample that belongs there, and again only where steps were lost.

    What was loaded last is what counts: a step that was rolled back is loaded again, by whichever worker.
    """
    loaded = load(str(recipe), []).recipe
    data = prepare_for(loaded)
    alone = make_loader(
        data.train,
        loaded.data.partition,
        seed=loaded.seed,
        global_batch_size=BATCH,
        micro_batch_size=BATCH,
        rank=0,
        size=1,
        epochs=None,
    )
    expected: list[int] = []
    for _ in range(steps):
        next(alone)
        expected += alone.sample_ids.tolist()
    times: dict[int, int] = {}
    final: dict[int, int] = {}
    for line in loads(folder):
        for place, sample in zip(line["at"], line["samples"], strict=True):
            times[place] = times.get(place, 0) + 1
            final[place] = sample
    assert [final.get(place) for place in range(steps * BATCH)] == expected
    again = sum(count - 1 for place, count in times.items())
    assert again <= lost_steps * BATCH
    assert max(final) < (steps + lost_steps) * BATCH


@pytest.mark.namespaces
@pytest.mark.skipif(lab_problem() is not None, reason=f"no hosts can be made: {lab_problem()}")
def test_a_host_that_lost_its_worker_comes_back_after_its_time_and_nothing_changes_but_the_size(
    job: Callable[..., Job], small_recipe: Path, tmp_path: Path
) -> None:
    """Three hosts, worker 0 killed at step 13, so that another one becomes it, and writes: the job trains on what a run
    of one worker trains on. Of the two that are left one waits for the other, which must tell it that it has gone.
    """
    script, _ = hosts(tmp_path, "a", "b", "c")
    elastic = ["--min-np", "1", "--max-np", "3", "--host-discovery-script", script, "--network-interfaces=eth0"]
    changes = ("train.commit_interval=5", "train.max_steps=400", "train.eval_interval=0")
    cooldown = ["--blacklist-cooldown-range", "1", "2"]
    command, environment = job(3, [{"do": "kill", "rank": 0, "step": 13}], *elastic, *cooldown, changes=changes)
    with Lab(hosts=3) as lab:
        finished = lab.run("a", command, env=environment)
        left = [process.cmdline() for name in lab.names for process in lab.processes(name)]
    assert left == []
    told = finished.stdout + finished.stderr
    assert finished.returncode == 0, told
    output = tmp_path / "run"
    sizes = [(r["step"], r["before"], r["after"]) for r in records(output, "resize")]
    assert sizes[0] == (10, 3, 2), told
    assert [(before, after) for _, before, after in sizes[1:]] == [(2, 3)], told
    assert "resized at step 10: from 3 workers to 2" in told
    [end] = records(output, "end")
    assert (end["step"], end["reason"], end["world_size"]) == (400, "finished", 3)
    check_account(small_recipe, tmp_path / "audit", 400, lost_steps=5 + 1)
    assert "2 to 3" in (output / "report.md").read_text()


def test_a_job_that_begins_on_one_host_grows_and_shrinks_without_losing_an_update(
    launch: Launch, small_recipe: Path, tmp_path: Path
) -> None:
    """horovodrun by itself would not begin: it waits for a second host, to ask which interface both have."""
    script, file = hosts(tmp_path, "localhost")
    fault = {"do": "hosts", "rank": 0, "file": str(file)}
    faults = [
        fault | {"step": 5, "text": "localhost:1\n127.0.0.1:1\n"},
        fault | {"step": 5, "text": "localhost:1\n", "workers": 2},
    ]
    elastic = ["--min-np", "1", "--max-np", "2", "--host-discovery-script", script]
    changes = ("train.commit_interval=5", "train.max_steps=600", "train.eval_interval=0")
    finished = launch(1, faults, *elastic, changes=changes)
    told = finished.stdout + finished.stderr
    assert finished.returncode == 0, told
    assert "--network-interfaces names another" in told
    sizes = [(r["before"], r["after"]) for r in records(tmp_path / "run", "resize")]
    assert sizes == [(1, 2), (2, 1)], told
    check_account(small_recipe, tmp_path / "audit", 600, lost_steps=0)


def test_a_frozen_worker_of_an_elastic_job_is_ended_and_the_others_go_on(
    launch: Launch, small_recipe: Path, tmp_path: Path
) -> None:
    """Horovod's driver would wait for it, and the others with it."""
    script, _ = hosts(tmp_path, "localhost", "127.0.0.1")
    elastic = ["--min-np", "1", "--host-discovery-script", script]
    changes = ("train.hang_timeout=6", "train.commit_interval=5")
    finished = launch(2, [{"do": "stop", "rank": 1, "step": 12}], *elastic, changes=changes)
    told = finished.stdout + finished.stderr
    assert finished.returncode == 0, told
    assert "worker 1 gave no sign of life for 6 s (train.hang_timeout), and is ended" in told
    [resize] = records(tmp_path / "run", "resize")
    assert (resize["step"], resize["before"], resize["after"]) == (10, 2, 1)
    check_account(small_recipe, tmp_path / "audit", 30, lost_steps=5 + 1)


def test_a_job_whose_parameter_server_is_killed_is_started_again_from_its_checkpoint(
    launch: Launch, small_recipe: Path, tmp_path: Path
) -> None:
    server = ("sync={name: parameter_server, placement: dedicated, cycle_time_ms: 1}",)
    fault = {"do": "kill", "rank": 2, "step": 15}
    finished = launch(3, [fault], "--gloo", "--restarts", "1", changes=server)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "worker 2 was ended by SIGKILL" in finished.stderr
    assert "starting the job again (1 of at most 1 times)" in finished.stderr
    output = tmp_path / "run"
    assert records(output, "start")[-1]["resumed_from"] == str(output / "checkpoints" / "step-10")
    check_account(small_recipe, tmp_path / "audit", 30, lost_steps=5)
    assert launch(3, [], "--gloo", changes=server, output="whole").returncode == 0
    assert not diff(checkpoint.locate(tmp_path / "whole"), checkpoint.locate(output))


def test_a_batch_that_grows_with_the_workers_is_refused_for_elastic_runs(launch: Launch, tmp_path: Path) -> None:
    script, _ = hosts(tmp_path, "localhost")
    elastic = ["--min-np", "1", "--host-discovery-script", script]
    finished = launch(1, [], *elastic, changes=("train.global_batch_size=null",))
    assert finished.returncode == 2
    assert "train.global_batch_size is not set" in finished.stderr


@pytest.mark.parametrize(
    ("workers", "controller", "fault", "said"),
    [
        (3, "gloo", "stop", "worker 1 gave no sign of life"),
        (2, "mpi", "stuck", "worker 1: after step 11: loading data has taken"),
    ],
)
def test_a_worker_that_hangs_ends_the_job_and_is_named(
    launch: Launch, tmp_path: Path, workers: int, controller: str, fault: str, said: str
) -> None:
    """And what the others waited for; nothing of the job is left, the frozen worker included."""
    if controller not in horovod_controllers():
        pytest.skip(f"Horovod was built without {controller}")
    faults = [{"do": fault, "rank": 1, "step": 12}]
    finished = launch(workers, faults, f"--{controller}", changes=("train.hang_timeout=7",))
    told = finished.stdout + finished.stderr
    assert finished.returncode == 1, told
    assert said in finished.stderr, told
    assert "waited for " in finished.stderr, told
    marked = [path for path in Path("/proc").glob("[0-9]*/environ") if f"MARKS={tmp_path}" in _read(path)]
    assert marked == []


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode(errors="replace")
    except OSError:
        return ""
