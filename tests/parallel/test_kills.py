"""Jobs whose worker is killed or hangs: they go on from their checkpoint bit for bit, or end and say whose fault it is.

benchmarks/reliability/kills.py and hangs.py in short: a pair of a task and a strategy for each task of another kind.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from hvdtrain.launch.facts import horovod_controllers
from hvdtrain.train import checkpoint
from hvdtrain.train.checkpoint_diff import diff

pytest.importorskip("horovod.torch", reason="Horovod is not installed")

Launch = Callable[..., subprocess.CompletedProcess[str]]

TRANSLATION = (
    "model={d_model: 32, n_encoder_layers: 1, n_decoder_layers: 1, dropout: 0.1}",
    "tokenizer.vocab_size=500",
    "data.max_seq_len=16",
    "task.eval_beam_size=0",
)
PAIRS = {
    "images, sharded": ("digits", "cnn-digits", ("sync={name: sharded, cycle_time_ms: 1}",)),
    "translation, powersgd": (
        "english_spanish",
        "translation-en-es",
        ("sync={name: powersgd, cycle_time_ms: 1}", *TRANSLATION),
    ),
    "GAN, local_sgd": (
        "mnist_5k",
        "gan-mnist",
        ("sync={name: local_sgd, period: 4, cycle_time_ms: 1}", "model.width=8"),
    ),
    "reinforcement learning, topk": (None, "ppo-cartpole", ("sync={name: topk, cycle_time_ms: 1}",)),
}
BRIEFLY = (
    "train.epochs=null",
    "train.precision=fp32",
    "train.threads_per_worker=1",
    "train.save_interval=7",
    "train.eval_interval=0",
    "train.log_interval=1",
    "train.plots=false",
)


def records(output: Path, event: str) -> list[dict]:
    lines = (output / "metrics.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["event"] == event]


def trained_on(folder: Path) -> dict[int, int]:
    """The sample at each place in the order of all, the one that was loaded last: it is what counts."""
    lines = [json.loads(line) for file in folder.iterdir() for line in file.read_text().splitlines()]
    lines.sort(key=lambda line: line["time"])
    return {place: sample for line in lines for place, sample in zip(line["at"], line["samples"], strict=True)}


def check_alike(folder: Path) -> None:
    """The run that was broken off is the one that was not, to the last bit, and so are its samples and its losses."""
    whole, broken = folder / "whole", folder / "run"
    assert not diff(checkpoint.locate(whole), checkpoint.locate(broken))
    assert trained_on(folder / "audit") == trained_on(folder / "audit-whole")
    losses = {record["step"]: record["loss"] for record in records(broken, "step")}
    assert losses == {record["step"]: record["loss"] for record in records(whole, "step")}


@pytest.mark.parametrize("pair", PAIRS)
def test_a_job_whose_worker_is_killed_goes_on_as_if_it_had_not_been(
    faulty_launch: Launch, fetched_data: Callable[[str], Path], tmp_path: Path, pair: str
) -> None:
    data, recipe, changes = PAIRS[pair]
    if data is not None:
        fetched_data(data)
    how = {"recipe": recipe, "changes": (*BRIEFLY, *changes)}
    finished = faulty_launch(2, [{"do": "kill", "rank": 1, "step": 16}], "--gloo", "--restarts", "1", **how)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "worker 1 was ended by SIGKILL" in finished.stderr
    assert "starting the job again (1 of at most 1 times)" in finished.stderr
    assert Path(records(tmp_path / "run", "start")[-1]["resumed_from"]).name == "step-14"
    assert faulty_launch(2, [], "--gloo", output="whole", **how).returncode == 0
    check_alike(tmp_path)


def test_a_job_whose_parameter_server_is_killed_goes_on_as_if_it_had_not_been(
    faulty_launch: Launch, tmp_path: Path
) -> None:
    server = ("sync={name: parameter_server, placement: dedicated, cycle_time_ms: 1}",)
    finished = faulty_launch(3, [{"do": "kill", "rank": 2, "step": 15}], "--gloo", "--restarts", "1", changes=server)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "worker 2 was ended by SIGKILL" in finished.stderr
    assert Path(records(tmp_path / "run", "start")[-1]["resumed_from"]).name == "step-10"
    assert faulty_launch(3, [], "--gloo", changes=server, output="whole").returncode == 0
    check_alike(tmp_path)


@pytest.mark.parametrize(
    ("workers", "controller", "fault", "said"),
    [
        (3, "gloo", "stop", "worker 1 gave no sign of life"),
        (2, "mpi", "stuck", "worker 1: after step 11: loading data has taken"),
    ],
)
def test_a_worker_that_hangs_ends_the_job_and_is_named(
    faulty_launch: Launch, tmp_path: Path, workers: int, controller: str, fault: str, said: str
) -> None:
    """And what the others waited for; nothing of the job is left, the frozen worker included."""
    if controller not in horovod_controllers():
        pytest.skip(f"Horovod was built without {controller}")
    faults = [{"do": fault, "rank": 1, "step": 12}]
    finished = faulty_launch(workers, faults, f"--{controller}", changes=("train.hang_timeout=7",))
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
