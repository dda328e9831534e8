"""Updates that are skipped because a loss is no number, with every strategy that synchronises."""

from __future__ import annotations

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


@pytest.mark.parametrize("sync", SYNCS)
def test_a_bad_batch_of_one_worker_does_no_harm(launches, workers_folder: Path, small_recipe: Path, sync: str) -> None:
    cases = {name: {"recipe": str(small_recipe), "sync": text} for name, text in SYNCS.items()}
    launches.hold(sync, cases, 3, workers_folder / "skipped.py")


def test_a_bad_batch_of_one_worker_does_no_harm_to_updates_that_are_combined(
    launches, workers_folder: Path, small_recipe: Path
) -> None:
    if "mpi" not in horovod_controllers():
        pytest.skip("Horovod was built without MPI, and has Adasum with it alone")
    cases = {"adasum": {"recipe": str(small_recipe), "sync": "{name: adasum, cycle_time_ms: 1}"}}
    launches.hold("adasum", cases, 2, workers_folder / "skipped.py", controller="mpi")
