"""Parameter servers compute what one worker does, move gradients and parameters point to point only, and resume."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from hvdtrain.cli.train import train as train_here

DEDICATED = {"placement": "dedicated"}


UPDATES = {
    2: {"2": {}, "2-two-servers": {"servers": 2}},
    3: {"3": {}, "3-two-servers": {"servers": 2}, "2+1": DEDICATED, "1+2": DEDICATED | {"servers": 2}},
}


@pytest.mark.parametrize(("workers", "case"), [(workers, case) for workers, cases in UPDATES.items() for case in cases])
def test_updates_equal_one_worker_and_go_point_to_point(
    launches, workers_folder: Path, workers: int, case: str
) -> None:
    launches.hold(case, UPDATES[workers], workers, workers_folder / "parameter_server.py")


def train(horovodrun, workers: int, recipe: Path, output: Path, *overrides: str) -> str:
    if workers > 1:
        return horovodrun(workers, "-m", "hvdtrain", "train", recipe, f"output_dir={output}", *overrides).stdout
    train_here(str(recipe), [f"output_dir={output}", *overrides], plain=True)
    return ""


def records(output: Path, event: str) -> list[dict]:
    lines = (output / "metrics.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["event"] == event]


def weights(output: Path, step: int = 20) -> dict[str, torch.Tensor]:
    return load_file(output / "checkpoints" / f"step-{step}" / "model.safetensors")


def server(**options: object) -> str:
    return f"sync={json.dumps({'name': 'parameter_server', 'cycle_time_ms': 1} | options)}"


def test_a_dedicated_server_trains_on_nothing_and_is_told_of(horovodrun, small_recipe: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    said = train(horovodrun, 3, small_recipe, output, server(**DEDICATED))
    [start], [end] = records(output, "start"), records(output, "end")
    assert (start["world_size"], start["servers"]) == (3, 1)
    assert start["gradient_accumulation_steps"] == 3, "12 samples of two workers with 2 a pass"
    [note] = [note for note in start["notes"] if note.startswith("parameter server")]
    assert note.startswith("parameter server: rank 2 on host ")
    assert note.endswith(", dedicated; 2 workers train")
    assert end["samples"] == 20 * 12
    assert end["server_bytes"] == [2 * 4 * start["parameters"]] * 2
    assert "2 workers and 1 server" in said
    assert "an update for 2 workers; in a ring all-reduce every link" in said
    alone = tmp_path / "alone"
    train(horovodrun, 1, small_recipe, alone)
    # As in test_training.py: sums in another order.
    assert [r["loss"] for r in records(output, "step")] == pytest.approx(
        [r["loss"] for r in records(alone, "step")], rel=1e-5
    )
    for theirs, ours in zip(records(alone, "eval"), records(output, "eval"), strict=True):
        assert ours["metrics"] == pytest.approx(theirs["metrics"], rel=1e-5)


@pytest.mark.parametrize(
    ("workers", "sync"),
    [
        (2, server()),
        (3, server(**DEDICATED)),
        (3, server(**DEDICATED, servers=2)),
        (3, "sync={name: sharded, cycle_time_ms: 1}"),
    ],
)
def test_resumed_equals_uninterrupted(horovodrun, small_recipe: Path, tmp_path: Path, workers: int, sync: str) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    train(horovodrun, workers, small_recipe, whole, "train.deterministic=true", sync)
    shutil.copytree(whole, broken)
    shutil.rmtree(broken / "checkpoints" / "step-20")
    train(horovodrun, workers, small_recipe, broken, "train.deterministic=true", sync)
    assert records(broken, "start")[-1]["step"] == 10
    for name, tensor in weights(whole).items():
        assert torch.equal(weights(broken)[name], tensor), name


def test_strategies_and_numbers_of_workers_and_servers_go_on_from_each_other(
    horovodrun, small_recipe: Path, tmp_path: Path
) -> None:
    constant = "lr_scheduler={name: constant}"
    output, alone = tmp_path / "run", tmp_path / "alone"
    for step, workers, sync in (
        (5, 3, server(**DEDICATED)),
        (10, 2, server(servers=2)),
        (15, 3, "sync={name: sharded, cycle_time_ms: 1}"),
        (20, 3, server()),
    ):
        train(horovodrun, workers, small_recipe, output, constant, sync, f"train.max_steps={step}")
    train(horovodrun, 1, small_recipe, alone, constant)
    losses = [r["loss"] for r in records(output, "step")]
    assert losses == pytest.approx([r["loss"] for r in records(alone, "step")], rel=1e-5)
    # A lost moment of AdamW would show in the weights first.
    for name, tensor in weights(alone).items():
        torch.testing.assert_close(weights(output)[name], tensor, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([server(servers=3, **DEDICATED)], "sync.servers = 3 of 3 workers are dedicated servers"),
        ([server(servers=4)], "sync.servers = 4: there are 3 workers"),
        ([server(**DEDICATED), "train.sync_batchnorm=true"], "train.sync_batchnorm = true: all workers take part"),
    ],
)
def test_what_can_not_be_is_said_once(
    horovodrun, small_recipe: Path, tmp_path: Path, overrides: list[str], expected: str
) -> None:
    finished = horovodrun(
        3, "-m", "hvdtrain", "train", small_recipe, f"output_dir={tmp_path / 'run'}", *overrides, check=False
    )
    assert finished.returncode != 0
    told = finished.stdout + finished.stderr
    assert told.count(expected) == 1
    assert "<stderr>:Traceback" not in told
