"""Updates that are skipped or rolled back because a loss is no number, with every strategy that synchronises."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hvdtrain.launch.facts import horovod_controllers

SYNCS = {
    "allreduce": "{name: allreduce, cycle_time_ms: 1}",
    "sharded": "{name: sharded, cycle_time_ms: 1}",
    "parameter_server": "{name: parameter_server, cycle_time_ms: 1}",
    "dedicated": "{name: parameter_server, placement: dedicated, cycle_time_ms: 1}",
    "powersgd": "{name: powersgd, cycle_time_ms: 1}",
    "topk": "{name: topk, cycle_time_ms: 1}",
    "local_sgd": "{name: local_sgd, period: 3, cycle_time_ms: 1}",
    "diloco": "{name: local_sgd, period: 2, outer: {}, cycle_time_ms: 1}",
}
CASES = {name: {"sync": text, "bad": 3} for name, text in SYNCS.items()} | {
    "local_sgd, the first": {"sync": SYNCS["local_sgd"], "bad": 1},
}
"""Which of a worker's batches is bad; one whose first is has no optimizer state yet, and the others have."""


@pytest.mark.parametrize("case", CASES)
def test_a_bad_batch_of_one_worker_does_no_harm(launches, workers_folder: Path, small_recipe: Path, case: str) -> None:
    cases = {name: {"recipe": str(small_recipe), **options} for name, options in CASES.items()}
    launches.hold(case, cases, 3, workers_folder / "skipped.py")


def test_a_bad_batch_of_one_worker_does_no_harm_to_updates_that_are_combined(
    launches, workers_folder: Path, small_recipe: Path
) -> None:
    if "mpi" not in horovod_controllers():
        pytest.skip("Horovod was built without MPI, and has Adasum with it alone")
    cases = {"adasum": {"recipe": str(small_recipe), "sync": "{name: adasum, cycle_time_ms: 1}", "bad": 3}}
    launches.hold("adasum", cases, 2, workers_folder / "skipped.py", controller="mpi")


@pytest.fixture
def history(horovodrun, workers_folder: Path, small_recipe: Path, tmp_path: Path):
    """Return a function that trains with the last worker's loss NaN at step 15, and a rollback; returns its records."""

    def train(workers: int, sync: str) -> list[dict]:
        output = tmp_path / f"run-{workers}"
        faulty = [workers_folder / "train_with_fault.py", "nan", str(workers - 1), "15", "train", str(small_recipe)]
        settings = ["train.on_nonfinite=rollback", "train.deterministic=true", f"output_dir={output}", f"sync={sync}"]
        horovodrun(workers, *faulty, *settings)
        return [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]

    return train


@pytest.mark.parametrize(("sync", "workers"), [("allreduce", 3), ("sharded", 2)])
def test_workers_go_back_together_and_on_as_one_would(history, sync: str, workers: int) -> None:
    """One worker's rollback is held against its samples and checkpoints in tests/unit/train/test_nonfinite_runs.py."""
    alone, together = (history(size, SYNCS[sync]) for size in (1, workers))
    [problem] = [record for record in together if record["event"] == "problem"]
    assert problem["problem"] == f"step 15: non-finite loss on worker {workers - 1}"
    assert "back from step 14 to 10" in problem["action"]
    mine, theirs = ([(r["step"], r["loss"]) for r in run if r["event"] == "step"] for run in (alone, together))
    assert [step for step, _ in theirs] == [*range(1, 15), *range(11, 21)]
    assert [loss for _, loss in theirs] == pytest.approx([loss for _, loss in mine], rel=1e-5)


def test_a_rollback_from_the_last_batch_of_an_epoch_ends_all_workers(
    horovodrun, workers_folder: Path, small_recipe: Path, tmp_path: Path
) -> None:
    """No samples are left to go on with: the run is what its checkpoint was."""
    output = tmp_path / "run"
    faulty = [workers_folder / "train_with_fault.py", "nan", "1", "0", "train", str(small_recipe)]
    settings = ["train.on_nonfinite=rollback", "train.max_steps=null", "train.epochs=1", "train.eval_interval=0"]
    horovodrun(2, *faulty, *settings, f"output_dir={output}")
    records = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    [end] = [record for record in records if record["event"] == "end"]
    [problem] = [record for record in records if record["event"] == "problem"]
    assert end["reason"] == "finished"
    assert end["step"] == problem["step"] < max(record["step"] for record in records)
    assert end["checkpoint"] == str(output / "checkpoints" / f"step-{end['step']}")
