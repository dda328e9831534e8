"""`hvdtrain estimate`, with trials that are made by hand where it would measure."""

from __future__ import annotations

import json
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from hvdtrain.cli.estimate import estimate
from hvdtrain.errors import UserError
from hvdtrain.metrics.records import PHASES, TrialRecord
from hvdtrain.scaling.prediction import estimation
from hvdtrain.scaling.trial import Task

app = typer.Typer()
app.command()(estimate)

CLUSTER = ("--np", "1,8,64", "--link", "10Gbit", "--latency", "20us")


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def predicted(*arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run("gpt-shakespeare", *arguments, "--json"))
    return found


def record(rank: int, workers: int) -> TrialRecord:
    step = {"data": 0.0, "forward": 0.1, "backward": 0.2, "optimizer": 0.0, "wait": 0.0, "step": 0.3, "busy": 0.3}
    sizes = (4096.0, 2.0**20, 2.0**22, 2.0**24)
    return TrialRecord(
        step=3,
        rank=rank,
        world_size=workers,
        host="a",
        local_size=workers,
        cores=4,
        threads=2,
        device="CPU",
        precision="fp32",
        controller="gloo",
        engine={"HOROVOD_CYCLE_TIME": "20 (auto)"} if workers > 1 else {},
        global_batch_size=8 * workers,
        micro_batch_size=8,
        gradient_accumulation_steps=1,
        samples=8 * workers,
        tokens=1024 * workers,
        wall=1.0,
        floor=(step,) * 3,
        idle=(step,) * 3 if workers > 1 else (),
        allreduce=tuple((s, 4e-4 + s * 1e-9) for s in sizes) if workers > 1 else (),
        latencies=(4.1e-4, 1e-2) if workers > 1 else (),
        gradients=((10_000_000, 0.1, "b"), (11_000_000, 0.2, "a")),
        reduce_seconds_per_byte=0.0,
    )


class Trials:
    """Stands in for `run_trial`, and remembers what it was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[tuple[int, Task]] = []
        monkeypatch.setattr(estimation, "run_trial", self)

    def __call__(self, task: Task, workers: int) -> list[TrialRecord]:
        self.asked.append((workers, task))
        return [record(rank, workers) for rank in range(workers)]


def test_a_given_step_needs_no_measurement_and_every_input_is_stated(monkeypatch: pytest.MonkeyPatch) -> None:
    trials = Trials(monkeypatch)
    output = run("gpt-shakespeare", *CLUSTER, "--step-time", "120ms")
    assert trials.asked == []
    for part in (
        "120 ms a step, as given",
        "assumed: one third of it is forward, two thirds backward",
        "10 Gbit/s, 20 us",
        "95 % of 10 Gbit/s carries data",
        "fusion 128 MiB (auto), cycle 1 ms (auto)",
        "memory of a worker",
        "efficiency stays at 90 % or more up to",
        "With 64 workers",
    ):
        assert part in output


def test_flops_give_the_step_time() -> None:
    """6 N + 12 L H Q T for 1,024 tokens, on 1 TFLOP/s of which half is reached."""
    found = predicted(*CLUSTER, "--device-tflops", "1", "--mfu", "0.5")
    assert found["alone"] == pytest.approx(34_406_400 * 1024 / 0.5e12)


def test_json_has_splits_that_sum_and_memory() -> None:
    found = predicted(*CLUSTER, "--step-time", "120ms")
    assert [one["workers"] for one in found["predictions"]] == [1, 8, 64]
    for one in found["predictions"]:
        assert sum(one["split"][name] for name in PHASES) == pytest.approx(one["step"])
    assert found["bytes_per_step"] == 21_378_048
    assert found["memory"]["gradients"] == 21_378_048
    assert found["memory"]["total"] == sum(v for k, v in found["memory"].items() if k != "total")


def test_compression_halves_the_bytes() -> None:
    plain, halved = (predicted(*CLUSTER, "--step-time", "1ms", "--compression", how) for how in ("none", "fp16"))
    assert halved["bytes_per_step"] * 2 == plain["bytes_per_step"]
    assert halved["predictions"][-1]["step"] < 0.7 * plain["predictions"][-1]["step"]


def test_the_limit_is_where_the_efficiency_crosses_the_floor() -> None:
    options = (
        "--link",
        "10Gbit",
        "--latency",
        "20us",
        "--step-time",
        "40ms",
        "--per-host",
        "4",
        "--inner-link",
        "1Tbit",
    )
    limit = predicted("--np", "8", *options, "--floor", "0.5")["limit"]
    assert limit % 4 == 0
    inside, outside = predicted("--np", f"{limit},{limit + 4}", *options)["predictions"]
    assert inside["efficiency"] >= 0.5 > outside["efficiency"]


def test_strong_scaling_takes_the_recipes_batch() -> None:
    found = predicted("--np", "2,16", "--link", "100Gbit", "--step-time", "80ms", "--mode", "strong")
    # 16 samples an update, where the given step is of a micro batch of 8
    assert found["alone"] == pytest.approx(0.16)
    assert found["predictions"][1]["samples_per_second"] == pytest.approx(16 / found["predictions"][1]["step"])
    assert found["limit"] in (1, 2, 4, 8, 16)


def test_compute_is_measured_with_one_worker_that_has_its_share_of_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    trials = Trials(monkeypatch)
    monkeypatch.setattr(estimation, "usable_cores", lambda: 4)
    found = predicted("--np", "1,2", "--link", "1Gbit", "--per-host", "2", "optimizer.lr=1e-3")
    [(workers, task)] = trials.asked
    assert workers == 1
    assert "train.threads_per_worker=2" in task.overrides
    assert "optimizer.lr=1e-3" in task.overrides
    assert found["alone"] == pytest.approx(0.3)
    assert any("compute: measured here, one worker with 2 threads: 300 ms" in line for line in found["inputs"])


def test_measured_links_come_from_two_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    trials = Trials(monkeypatch)
    found = predicted("--np", "2", "--measured")
    assert [workers for workers, _ in trials.asked] == [1, 2]
    assert trials.asked[1][1].sweep
    assert any("measured here with two workers: 100 us a message, 1 GB/s" in line for line in found["inputs"])


def test_a_sweep_that_gives_no_fit_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    Trials(monkeypatch)
    monkeypatch.setattr(estimation, "run_trial", lambda task, workers: [record(rank, 1) for rank in range(workers)])
    with pytest.raises(UserError, match=r"--measured: no fit of the link: .*; give the link with --link"):
        run("gpt-shakespeare", "--np", "2", "--measured")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--link says what joins the workers"),
        (("--link", "25"), "--link 25: expected a rate with its unit"),
        (("--link", "1Gbit", "--latency", "20"), "--latency 20: expected a time with its unit"),
        (("--link", "1Gbit", "--step-time", "0s"), "--step-time: expected more than no time"),
        (("--link", "1Gbit", "--step-time", "1s", "--device-tflops", "1"), "exclude each other"),
        (("--link", "1Gbit", "--device-tflops", "0"), "--device-tflops 0: expected a peak"),
        (("--link", "1Gbit", "--step-time", "1s", "--floor", "90"), "--floor 90: expected an efficiency"),
        (("--link", "1Gbit", "--step-time", "1s", "--mfu", "40"), "--mfu 40: expected a share"),
        (("--link", "1Gbit", "--step-time", "1s", "--inner-link", "1Tbit"), "give --per-host too"),
        (("--link", "1Gbit", "--step-time", "1s", "--hierarchical"), "give --per-host"),
        (("--link", "1Gbit", "--step-time", "1s", "--np", "0,2"), "--np 0,2: expected at least one worker"),
        (("--link", "1Gbit", "--step-time", "1s", "--np", "3", "--mode", "strong"), "can't be cut into 3 equal shares"),
        (
            ("--link", "1Gbit", "--step-time", "1s", "--np", "6", "--per-host", "4", "--hierarchical"),
            "6 workers: a hierarchical all-reduce needs hosts with equally many",
        ),
    ],
)
def test_what_can_not_be_is_refused_with_its_option(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError) as error:
        run("gpt-shakespeare", *arguments)
    assert message in str(error.value)
