"""benchmarks/compare_peers.py: what it takes from the command line, and its arithmetic. Nothing here holds a time."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import compare_peers as peers
import numpy as np
import pytest
import torch
from peers import prepare, watching
from peers import work as works
from peers.plain_gpt import PlainGPT

from hvdtrain.data.loader import make_loader
from hvdtrain.recipe import load
from hvdtrain.train.assemble import prepare_for

CONSTANT = ["lr_scheduler={name: constant, warmup_steps: 0}", "train.global_batch_size=null"]


def measured(rates: list[float], peak: int, losses: list[float] | None = None) -> peers.Measured:
    return peers.Measured(rates, peak, losses or [])


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--sides", "ddp_plain"], "hvdtrain"),
        (["--steps", "25", "--window", "10"], "whole windows of 10"),
        (["--steps", "10"], "two or more"),
        (["--precisions", "fp8"], "fp8"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        peers.parse(arguments)
    assert refused.value.code == 2
    assert named in capsys.readouterr().err


def test_larger_models_are_compared_on_the_same_module_and_rounds_alternate() -> None:
    asked = peers.parse([])
    assert asked.install
    small = peers.sides_of(peers.Case("bench/gpt-7m", "fp32"), asked)
    assert small == ["hvdtrain", "hvdtrain_gloo", "ddp_identical", "ddp_plain", "hf_trainer", "lightning_ddp"]
    assert peers.sides_of(peers.Case("bench/gpt-50m", "bf16"), asked) == ["hvdtrain", "hvdtrain_gloo", "ddp_identical"]
    assert (peers.order(small, 0), peers.order(small, 1)) == (small, small[::-1])
    assert peers.length("bench/gpt-50m", asked) == (20, 4)
    named = peers.parse(["--sides", "ddp_plain", "hvdtrain", "--steps", "6", "--window", "3"])
    assert peers.sides_of(peers.Case("bench/gpt-50m", "fp32"), named) == ["hvdtrain", "ddp_plain"]
    assert peers.length("bench/gpt-50m", named) == (6, 3)


def test_ratios_are_of_the_same_round() -> None:
    case = peers.Case("bench/gpt-7m", "fp32")
    rounds = [
        {"hvdtrain": measured([10, 11, 99], 80, [2.0, 1.0]), "ddp_identical": measured([10, 5], 100, [2.0, 1.01])},
        {"hvdtrain": measured([30], 90, [2.0, 1.0]), "ddp_identical": measured([15], 90, [2.0, 1.0])},
        {"hvdtrain": measured([12], 60, [2.0, 1.0]), "ddp_identical": measured([12], 80, [2.0, 1.0])},
    ]
    found = peers.summary(case, rounds)
    assert found["tokens_per_second"]["hvdtrain"] == {"median": 12, "range": [11, 30]}
    # 11 / 7.5, 30 / 15, 12 / 12; the ratio of the medians would be 1.
    assert found["speed_ratio"]["ddp_identical"]["median"] == pytest.approx(11 / 7.5)
    assert found["speed_ratio"]["ddp_identical"]["range"] == [1.0, 2.0]
    assert found["memory_ratio"]["ddp_identical"] == {"median": 0.8, "range": [0.75, 1.0]}
    assert found["largest_difference_of_losses"]["ddp_identical"] == pytest.approx(1 - 1 / 1.01)
    text = peers.table({"cases": [found]})
    assert "| bench/gpt-7m | fp32 | ddp_identical | 12 | 12 | **1.467** (1.000 to 2.000) |" in text
    assert json.loads(json.dumps(found))["rounds"][0]["hvdtrain"]["peak"] == 80


@pytest.fixture
def work(small_recipe: Path, tmp_path: Path) -> works.Work:
    made = prepare.prepare_work(str(small_recipe), CONSTANT, 4, 2, 2, tmp_path)
    made.write(tmp_path / "work.json")
    return works.read_work(str(tmp_path / "work.json"))


def test_peers_are_given_the_batches_of_hvdtrains_workers(work: works.Work, small_recipe: Path) -> None:
    recipe = load(str(small_recipe), CONSTANT).recipe
    inputs, targets, order = (np.load(Path(work.folder) / f"{name}.npy") for name in ("inputs", "targets", "order"))
    assert order.shape == (4, 2, 2)
    data = prepare_for(recipe)
    for rank in range(2):
        loader = make_loader(
            data.train, recipe.data.partition, seed=recipe.seed, rank=rank, size=2, epochs=None,
            global_batch_size=4, micro_batch_size=2,
        )  # fmt: skip
        for step in range(4):
            [batch] = next(loader)
            np.testing.assert_array_equal(inputs[order[step, rank]], batch["inputs"].numpy())
            np.testing.assert_array_equal(targets[order[step, rank]], batch["targets"].numpy())
    assert (work.micro_batch, work.seq_len, work.betas, work.lr) == (2, 16, (0.9, 0.95), 3e-3)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ([], "constant"),
        ([*CONSTANT, "train.global_batch_size=12"], "micro batch"),
        ([*CONSTANT, "model={name: lstm, n_layers: 1, d_model: 8}"], "GPT"),
    ],
)
def test_recipes_without_peers_are_refused(changes: list[str], named: str, small_recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=named):
        prepare.prepare_work(str(small_recipe), changes, 4, 2, 2, tmp_path)


def test_a_window_is_as_long_as_the_slowest_workers(
    work: works.Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = works.Work(**{**vars(work), "out": str(tmp_path)})
    for rank, clock in enumerate([[0.0, 1.0, 5.0], [0.0, 2.0, 4.0]]):
        monkeypatch.setattr("peers.work.time.perf_counter", iter(clock).__next__)
        meter = works.Meter(work, rank)
        meter.start()
        for _ in range(3):
            meter.step()
        assert not (tmp_path / f"windows-{rank}.json").exists()
        meter.step()
    seconds = [json.loads((tmp_path / f"windows-{rank}.json").read_text()) for rank in range(2)]
    assert seconds == [[1.0, 4.0], [2.0, 2.0]]
    # 2 steps x 2 workers x 2 samples x 16 tokens
    assert works.rates(work, seconds) == [128 / 2.0, 128 / 4.0]


START = """
import os, subprocess, sys
code = "import sys, time; held = bytearray(int(sys.argv[1])); time.sleep(1.5)"
workers = [subprocess.Popen([sys.executable, "-c", code, size], env={**os.environ, name: rank})
           for name, rank, size in (("RANK", "0", "0"), ("HOROVOD_RANK", "1", "100000000"))]
print("started", flush=True)
sys.exit(max(worker.wait() for worker in workers))
"""


def test_the_peak_memory_of_each_worker_is_seen_until_training_ends() -> None:
    command, variables = [sys.executable, "-c", START], {"PATH": "/usr/bin"}
    printed, peaks = watching.run(command, variables, lambda: False)
    assert printed == "started\n"
    assert 90e6 < peaks[1] - peaks[0] < 110e6
    assert watching.run(command, variables, lambda: True)[1] == []


def test_a_command_that_fails_is_told_with_what_it_said() -> None:
    with pytest.raises(RuntimeError, match=r"exit code 3\nno luck"):
        watching.run([sys.executable, "-c", "print('no luck'); exit(3)"], {}, lambda: False)


def test_the_engine_gets_nothing_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOROVOD_CYCLE_TIME", "1")
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    given = peers.variables()
    assert not {"HOROVOD_CYCLE_TIME", "RANK"} & given.keys()
    assert given["OMP_NUM_THREADS"] == "1"


def test_the_plain_gpt_is_causal_and_begins_at_the_uniform_loss() -> None:
    torch.manual_seed(0)
    model = PlainGPT(vocabulary=50, length=12, width=16, layers=2, heads=2)
    ids = torch.randint(50, (4, 12))
    changed = ids.clone()
    changed[:, 8] = (ids[:, 8] + 1) % 50
    logits, other = model(ids), model(changed)
    torch.testing.assert_close(logits[:, :8], other[:, :8])
    assert not torch.allclose(logits[:, 8:], other[:, 8:])
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), torch.randint(50, (48,)))
    assert loss.item() == pytest.approx(math.log(50), abs=0.1)
