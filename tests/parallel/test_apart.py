"""Strategies whose workers follow their own shares: local_sgd, adasum and none."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

SGD = {"name": "SGD", "momentum": 0.9, "weight_decay": 0.01}
ADAMW = {"name": "AdamW", "eps": 1e-3}


@pytest.fixture(scope="module")
def with_mpi() -> None:
    """Skip where Horovod has no MPI; asked in a process of its own, which may then end as it likes."""
    code = "import horovod.torch as hvd; print(hvd.mpi_built())"
    built = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if built.stdout.strip() != "True" or shutil.which("mpirun") is None:
        pytest.skip("Horovod was built without MPI, or there is no mpirun")


def averaged(optimizer: dict[str, Any]) -> dict[str, Any]:
    return {"sync": {"name": "local_sgd", "period": 1}, "optimizer": optimizer, "steps": 4, "equal": True}


def local(optimizer: dict[str, Any], **knobs: Any) -> dict[str, Any]:
    """Ragged shares, accumulation and each worker's own clipping included."""
    return {"sync": {"name": "local_sgd", **knobs}, "optimizer": optimizer, "steps": 6, "clip": 0.5}


def adasum(optimizer: dict[str, Any]) -> dict[str, Any]:
    return {"sync": {"name": "adasum"}, "optimizer": optimizer, "steps": 4, "clip": 0.5}


AVERAGED = {"sgd": averaged({"name": "SGD"}), "momentum": averaged(SGD)}
LOCALLY = {
    "local-momentum": local(SGD, period=3),
    "local-adamw": local(ADAMW, period=3),
    "post-local": local(SGD, period=2, warmup_steps=3),
    "diloco": local(ADAMW, period=2, outer={}),
    "outer": local(SGD, period=3, warmup_steps=1, outer={"lr": 0.5, "momentum": 0.6, "nesterov": False}),
}
ADASUMS = {2: {"sgd": adasum(SGD), "adamw": adasum(ADAMW)}, 4: {"four": adasum(SGD)}}


@pytest.mark.parametrize("workers", [2, 3])
@pytest.mark.parametrize("case", AVERAGED)
def test_averaging_each_update_of_sgd_is_what_one_worker_does(
    launches, workers_folder: Path, workers: int, case: str
) -> None:
    cases = AVERAGED if workers == 2 else AVERAGED | LOCALLY
    launches.hold(case, cases, workers, workers_folder / "apart.py")


@pytest.mark.parametrize("case", LOCALLY)
def test_local_updates_equal_workers_simulated_in_one_process(launches, workers_folder: Path, case: str) -> None:
    launches.hold(case, AVERAGED | LOCALLY, 3, workers_folder / "apart.py")


@pytest.mark.mpi
@pytest.mark.parametrize(("workers", "case"), [(workers, case) for workers, cases in ADASUMS.items() for case in cases])
def test_adasum_is_the_papers_formula_of_each_parameters_changes(
    launches, workers_folder: Path, with_mpi: None, workers: int, case: str
) -> None:
    launches.hold(case, ADASUMS[workers], workers, workers_folder / "apart.py", controller="mpi")


@pytest.mark.parametrize(("workers", "problem"), [(3, "start 2 or 4"), (2, "start them with --mpi")])
def test_adasum_refuses_workers_that_it_cannot_combine(
    horovodrun, small_recipe: Path, tmp_path: Path, workers: int, problem: str
) -> None:
    finished = train(horovodrun, workers, small_recipe, tmp_path / "run", "sync={name: adasum}", check=False)
    assert finished.returncode != 0
    assert (finished.stdout + finished.stderr).count(problem) == 1
    assert not (tmp_path / "run").exists()


def train(
    horovodrun, workers: int, recipe: Path, output: Path, *overrides: str, **how: Any
) -> subprocess.CompletedProcess[str]:
    finished: subprocess.CompletedProcess[str] = horovodrun(
        workers, "-m", "hvdtrain", "train", recipe, f"output_dir={output}", *overrides, **how
    )
    return finished


def losses(output: Path) -> dict[int, float]:
    lines = map(json.loads, (output / "metrics.jsonl").read_text().splitlines())
    return {record["step"]: record["loss"] for record in lines if record["event"] == "step"}


def saved(output: Path, step: int) -> dict[str, torch.Tensor]:
    folder = output / "checkpoints" / f"step-{step}"
    return load_file(folder / "model.safetensors") | load_file(folder / "optimizer.safetensors")


STEADY = ("train.deterministic=true", "lr_scheduler={name: constant}")
LOCAL = "sync={name: local_sgd, period: 4, cycle_time_ms: 1}"
DILOCO = "sync={name: local_sgd, period: 4, outer: {}, cycle_time_ms: 1}"
ADASUM = "sync={name: adasum, cycle_time_ms: 1}"
NONE = "sync={name: none}"


@pytest.mark.parametrize(
    ("sync", "workers", "controller"),
    [(LOCAL, 3, "gloo"), (DILOCO, 2, "gloo"), (NONE, 2, "gloo"), pytest.param(ADASUM, 2, "mpi", marks=pytest.mark.mpi)],
    ids=["local", "diloco", "none", "adasum"],
)
def test_workers_that_are_apart_resume_each_where_it_was(
    horovodrun, small_recipe: Path, tmp_path: Path, request, sync: str, workers: int, controller: str
) -> None:
    """Bit for bit, between two averages too, and evaluating and saving at other steps changes nothing."""
    if controller == "mpi":
        request.getfixturevalue("with_mpi")
    at_once, by_parts = tmp_path / "at-once", tmp_path / "by-parts"
    rarely = ("train.eval_interval=0", "train.save_interval=0")
    train(horovodrun, workers, small_recipe, at_once, sync, *STEADY, *rarely, controller=controller)
    often = ("train.eval_interval=3", "train.save_interval=3")
    for end in (13, 20):
        steps = f"train.max_steps={end}"
        train(horovodrun, workers, small_recipe, by_parts, sync, *STEADY, *often, steps, controller=controller)
    assert losses(by_parts) == losses(at_once)
    whole, parts = saved(at_once, 20), saved(by_parts, 20)
    assert whole.keys() == parts.keys()
    assert any(name.startswith("workers.") for name in whole)
    assert all(torch.equal(parts[name], tensor) for name, tensor in whole.items())


def test_other_workers_and_other_strategies_go_on_from_what_was_agreed(
    horovodrun, small_recipe: Path, tmp_path: Path
) -> None:
    """Three workers stop in the middle of a period, two go on, then one, then two that synchronise each update."""
    output = tmp_path / "run"
    for workers, end, sync in ((3, 6, DILOCO), (2, 11, DILOCO), (2, 20, "sync={name: allreduce, cycle_time_ms: 1}")):
        train(horovodrun, workers, small_recipe, output, sync, *STEADY, f"train.max_steps={end}")
    found = losses(output)
    assert list(found) == list(range(1, 21))
    # A model that began anew would be back at ln 256 = 5.5, where step 1 is.
    assert found[6] < found[1] - 0.2
    assert found[7] < found[6] + 0.1
    assert found[12] < found[11] + 0.1
    started = [r for r in map(json.loads, (output / "metrics.jsonl").read_text().splitlines()) if r["event"] == "start"]
    told = ["3 workers had state of their own at step 6" in " ".join(record["notes"]) for record in started]
    assert told == [False, True, False]


def test_a_loss_that_is_no_number_on_one_worker_ends_all(
    horovodrun, workers_folder: Path, small_recipe: Path, tmp_path: Path
) -> None:
    """That worker alone knows; the others wait for it in their next average, or are still on their way there."""
    script, output = workers_folder / "train_with_fault.py", tmp_path / "run"
    finished = horovodrun(
        3,
        script,
        "nan",
        1,
        14,
        "train",
        small_recipe,
        f"output_dir={output}",
        LOCAL,
        "train.log_interval=10",
        check=False,
    )
    assert finished.returncode != 0
    told = finished.stdout + finished.stderr
    assert told.count("step 14: non-finite loss on worker 1") == 1
    assert f"last good checkpoint: the newest in {output / 'checkpoints'}" in told
    assert "<stderr>:Traceback" not in told
