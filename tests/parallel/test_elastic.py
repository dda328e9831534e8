"""Workers that are lost and hosts that come, under real horovodrun.

Hosts are namespaces where that matters, else two names of this machine.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from namespaces import Lab, lab_problem

from hvdtrain.data.loader import make_loader
from hvdtrain.recipe import load
from hvdtrain.train import checkpoint
from hvdtrain.train.assemble import prepare_for

pytest.importorskip("horovod.torch", reason="Horovod is not installed")

Launch = Callable[..., subprocess.CompletedProcess[str]]
BATCH = 12


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


def run_on_hosts(count: int, command: list[str], environment: dict[str, str], rate: str | None = None) -> str:
    """Run a job from host a of hosts a, b and so on, with links of a rate, and return what it said; nothing of it may
    be left on any.
    """
    with Lab(hosts=count, rate=rate) as lab:
        finished = lab.run("a", command, env=environment)
        left = lab.left()
    told = finished.stdout + finished.stderr
    assert left == [], told
    assert finished.returncode == 0, told
    return told


def run_from_one(
    launch: Launch, folder: Path, script: str, faults: list[dict[str, Any]], *changes: str, most: int
) -> tuple[str, list[tuple[int, int]]]:
    """Run a job that begins with one worker; return what it said, and each number of workers with that after it."""
    elastic = ["--min-np", "1", "--max-np", str(most), "--host-discovery-script", script]
    finished = launch(1, faults, *elastic, changes=("train.commit_interval=5", "train.eval_interval=0", *changes))
    told = finished.stdout + finished.stderr
    assert finished.returncode == 0, told
    return told, [(record["before"], record["after"]) for record in records(folder / "run", "resize")]


@pytest.mark.namespaces
@pytest.mark.skipif(lab_problem() is not None, reason=f"no hosts can be made: {lab_problem()}")
def test_a_host_that_lost_its_worker_comes_back_after_its_time_and_nothing_changes_but_the_size(
    faulty_job: Callable[..., Any], small_recipe: Path, tmp_path: Path
) -> None:
    """Three hosts, worker 0 killed at step 13, so that another one becomes it, and writes: the job trains on what a run
    of one worker trains on. Of the two that are left one waits for the other, which must tell it that it has gone.
    """
    script, _ = hosts(tmp_path, "a", "b", "c")
    elastic = ["--min-np", "1", "--max-np", "3", "--host-discovery-script", script, "--network-interfaces=eth0"]
    changes = ("train.commit_interval=5", "train.max_steps=400", "train.eval_interval=0")
    cooldown = ["--blacklist-cooldown-range", "1", "2"]
    faults = [{"do": "kill", "rank": 0, "step": 13}, {"do": "slow", "step": 200, "sizes": [3, 2, 3]}]
    command, environment = faulty_job(3, faults, *elastic, *cooldown, changes=changes)
    told = run_on_hosts(3, command, environment)
    output = tmp_path / "run"
    sizes = [(r["step"], r["before"], r["after"]) for r in records(output, "resize")]
    assert sizes[0] == (10, 3, 2), told
    assert [(before, after) for _, before, after in sizes[1:]] == [(2, 3)], told
    assert "resized at step 10: from 3 workers to 2" in told
    [end] = records(output, "end")
    assert (end["step"], end["reason"], end["world_size"]) == (400, "finished", 3)
    check_account(small_recipe, tmp_path / "audit", 400, lost_steps=5 + 1)
    assert "2 to 3" in (output / "report.md").read_text()


@pytest.mark.namespaces
@pytest.mark.skipif(lab_problem() is not None, reason=f"no hosts can be made: {lab_problem()}")
@pytest.mark.parametrize("sync", ["{name: allreduce}", "{name: parameter_server, placement: dedicated}"])
def test_a_worker_that_is_lost_while_gradients_are_under_way_holds_nobody_up_and_takes_nobody_along(
    faulty_job: Callable[..., Any], small_recipe: Path, tmp_path: Path, sync: str
) -> None:
    """Horovod as it was released may stand still for as long as Gloo waits, or lose another worker: how often is what
    benchmarks/reliability/elastic_hosts.py --rate counts.
    """
    script, _ = hosts(tmp_path, "a", "b", "c")
    elastic = ["--min-np", "1", "--host-discovery-script", script, "--network-interfaces=eth0"]
    large = ("model.d_model=160", "model.n_layers=1", f"sync={sync}")
    steps = ("train.commit_interval=5", "train.max_steps=10", "train.eval_interval=0")
    fault = {"do": "kill", "rank": 1, "step": 8, "after": 0.25}
    command, environment = faulty_job(3, [fault], *elastic, changes=(*large, *steps))
    told = run_on_hosts(3, command, environment, rate="20mbit")
    sizes = [(r["step"], r["before"], r["after"]) for r in records(tmp_path / "run", "resize")]
    assert sizes == [(5, 3, 2)], told
    assert "Timed out" not in told
    assert "terminate called" not in told
    check_account(small_recipe, tmp_path / "audit", 10, lost_steps=5 + 1)


def test_a_job_that_begins_on_one_host_grows_and_shrinks_without_losing_an_update(
    faulty_launch: Launch, small_recipe: Path, tmp_path: Path
) -> None:
    """horovodrun by itself would not begin: it waits for a second host, to ask which interface both have."""
    script, file = hosts(tmp_path, "localhost")
    fault = {"do": "hosts", "rank": 0, "file": str(file)}
    faults = [
        fault | {"step": 5, "text": "localhost:1\n127.0.0.1:1\n"},
        fault | {"step": 5, "text": "localhost:1\n", "workers": 2},
        {"do": "slow", "step": 200, "sizes": [1, 2, 1]},
    ]
    told, sizes = run_from_one(faulty_launch, tmp_path, script, faults, "train.max_steps=600", most=2)
    assert "--network-interfaces names another" in told
    assert sizes == [(1, 2), (2, 1)], told
    check_account(small_recipe, tmp_path / "audit", 600, lost_steps=0)


def test_a_host_that_comes_while_the_workers_wait_for_another_joins_too(
    faulty_launch: Launch, small_recipe: Path, tmp_path: Path
) -> None:
    """Horovod tells of it once, and forgets what it told of before the workers have joined."""
    script, file = hosts(tmp_path, "localhost")
    fault = {"do": "hosts", "file": str(file)}
    faults = [
        fault | {"rank": 0, "step": 5, "text": "localhost:1\n127.0.0.1:1\n"},
        fault | {"rank": 1, "at": "start", "text": "localhost:1\n127.0.0.1:2\n"},
        {"do": "slow", "step": 100, "sizes": [1, 2, 3]},
    ]
    told, sizes = run_from_one(faulty_launch, tmp_path, script, faults, "train.max_steps=300", most=3)
    assert sizes == [(1, 2), (2, 3)], told
    check_account(small_recipe, tmp_path / "audit", 300, lost_steps=0)


def test_engines_that_start_anew_fuse_what_that_of_a_newcomer_fuses(
    faulty_launch: Launch, small_recipe: Path, tmp_path: Path
) -> None:
    """The gradients are two tensors, together larger than the MiB that Horovod's engine as it was released takes for
    its fusion threshold when it starts anew with a cycle time, and ready in the same cycle.
    """
    script, file = hosts(tmp_path, "localhost")
    grow = {"do": "hosts", "rank": 0, "step": 5, "file": str(file), "text": "localhost:1\n127.0.0.1:1\n"}
    large = ("model.d_model=192", "model.n_layers=1", "sync={name: allreduce, cycle_time_ms: 50}")
    faults = [grow, {"do": "slow", "step": 20, "sizes": [1, 2]}]
    told, sizes = run_from_one(faulty_launch, tmp_path, script, faults, *large, "train.max_steps=60", most=2)
    assert "warning" not in told, told
    assert sizes == [(1, 2)], told
    check_account(small_recipe, tmp_path / "audit", 60, lost_steps=0)


def test_a_frozen_worker_of_an_elastic_job_is_ended_and_the_others_go_on(
    faulty_launch: Launch, small_recipe: Path, tmp_path: Path
) -> None:
    """Horovod's driver would wait for it, and the others with it."""
    script, _ = hosts(tmp_path, "localhost", "127.0.0.1")
    elastic = ["--min-np", "1", "--host-discovery-script", script]
    changes = ("train.hang_timeout=6", "train.commit_interval=5")
    finished = faulty_launch(2, [{"do": "stop", "rank": 1, "step": 12}], *elastic, changes=changes)
    told = finished.stdout + finished.stderr
    assert finished.returncode == 0, told
    assert "worker 1 gave no sign of life for 6 s (train.hang_timeout), and is ended" in told
    [resize] = records(tmp_path / "run", "resize")
    assert (resize["step"], resize["before"], resize["after"]) == (10, 2, 1)
    check_account(small_recipe, tmp_path / "audit", 30, lost_steps=5 + 1)


@pytest.mark.namespaces
@pytest.mark.skipif(lab_problem() is not None, reason=f"no hosts can be made: {lab_problem()}")
def test_a_frozen_worker_of_another_host_is_ended_there(
    faulty_job: Callable[..., Any], small_recipe: Path, tmp_path: Path
) -> None:
    script, _ = hosts(tmp_path, "a", "b")
    elastic = ["--min-np", "1", "--host-discovery-script", script, "--network-interfaces=eth0"]
    changes = ("train.hang_timeout=6", "train.commit_interval=5")
    command, environment = faulty_job(2, [{"do": "stop", "rank": 1, "step": 12}], *elastic, changes=changes)
    told = run_on_hosts(2, command, environment)
    assert "worker 1 gave no sign of life for 6 s (train.hang_timeout), and is ended" in told
    [resize] = records(tmp_path / "run", "resize")
    assert (resize["step"], resize["before"], resize["after"]) == (10, 2, 1)
    check_account(small_recipe, tmp_path / "audit", 30, lost_steps=5 + 1)


def test_a_worker_that_is_lost_while_it_saves_the_end_leaves_the_end_to_the_others(
    faulty_launch: Launch, tmp_path: Path
) -> None:
    """They have done all updates: what is left is the checkpoint, the last record and the report."""
    script, _ = hosts(tmp_path, "localhost", "127.0.0.1")
    elastic = ["--min-np", "1", "--host-discovery-script", script]
    fault = {"do": "kill", "rank": 0, "step": 30, "at": "saving"}
    finished = faulty_launch(2, [fault], *elastic, changes=("train.commit_interval=10",))
    told = finished.stdout + finished.stderr
    assert finished.returncode == 0, told
    output = tmp_path / "run"
    [end] = records(output, "end")
    assert (end["step"], end["reason"], end["world_size"]) == (30, "finished", 1)
    assert end["checkpoint"] == str(output / "checkpoints" / "step-30")
    checkpoint.verify(output / "checkpoints" / "step-30")
    assert list((output / "checkpoints").glob(".step-*")) == []
    assert "resized at step 30: from 2 workers to 1" in told


def test_a_batch_that_grows_with_the_workers_is_refused_for_elastic_runs(faulty_launch: Launch, tmp_path: Path) -> None:
    script, _ = hosts(tmp_path, "localhost")
    elastic = ["--min-np", "1", "--host-discovery-script", script]
    finished = faulty_launch(1, [], *elastic, changes=("train.global_batch_size=null",))
    assert finished.returncode == 2
    assert "train.global_batch_size is not set" in finished.stderr


def test_plain_horovodrun_goes_on_without_a_worker_that_was_killed(
    faulty_job: Callable[..., Any], small_recipe: Path, tmp_path: Path
) -> None:
    script, _ = hosts(tmp_path, "localhost", "127.0.0.1")
    command, environment = faulty_job(2, [{"do": "kill", "rank": 1, "step": 13}], changes=("train.commit_interval=5",))
    elastic = ["--gloo", "--min-np", "1", "--max-np", "2", "--host-discovery-script", script]
    plain = ["horovodrun", "-np", "2", *elastic, "hvdtrain", "train", "--plain", *command[command.index("2") + 1 :]]
    finished = subprocess.run(
        plain,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    told = finished.stdout + finished.stderr
    assert finished.returncode == 0, told
    sizes = [(r["step"], r["before"], r["after"]) for r in records(tmp_path / "run", "resize")]
    assert sizes == [(10, 2, 1)], told
    assert records(tmp_path / "run", "end")[0]["step"] == 30
    check_account(small_recipe, tmp_path / "audit", 30, lost_steps=5 + 1)
