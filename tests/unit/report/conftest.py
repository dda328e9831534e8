from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from hvdtrain.metrics.records import (
    CheckpointRecord,
    EndRecord,
    EvalRecord,
    Record,
    SampleRecord,
    StartRecord,
    StepRecord,
)
from hvdtrain.metrics.study import Diagnosis, Failure, Finding, Interval, ScalabilityLaw, SizeResult, Study

TEXT = "KING RICHARD:\nWhat say you now? The [bold]duke[/bold] is come,\nAnd all the court attend his grace to-day.\n"
SECONDS = {
    "step": 0.629,
    "data": 0.001,
    "forward": 0.171,
    "backward": 0.352,
    "communication": 0.061,
    "imbalance": 0.018,
    "optimizer": 0.0196,
    "other": 0.0064,
}


def make_recording(steps: int = 500, workers: int = 2, name: str = "gpt-shakespeare") -> list[Record]:
    """A run as the trainer reports it: every tenth step logged, evaluated and saved every hundredth."""
    records: list[Record] = [
        StartRecord(
            step=0,
            name=name,
            output_dir=f"runs/{name}",
            world_size=workers,
            hosts=1,
            device="CPU",
            threads_per_worker=1,
            precision="fp32",
            precision_reason="the CPU has no AMX, without which bf16 gains little",
            total_steps=500,
            global_batch_size=32,
            micro_batch_size=8,
            gradient_accumulation_steps=2,
            learning_rate=1e-3,
            learning_rate_rule="",
            parameters=5_245_000,
            flops_per_token=3.4e7,
            train_targets=1_812_345,
            val_targets=95_432,
            loss_unit="nats a token",
            references={"loss": {"unigram baseline": 6.2345}},
            sync="allreduce",
            engine={"HOROVOD_FUSION_THRESHOLD": "33554432 (auto)", "HOROVOD_CYCLE_TIME": "20 (auto)"},
            notes=("the split is by document",),
        )
    ]
    for step in range(10, steps + 1, 10):
        records.append(step_record(step, workers))
        if step % 100 == 0:
            loss = loss_at(step) + 0.11
            metrics = {"loss": loss, "perplexity": math.exp(loss), "bits_per_byte": loss / 1.9}
            records.append(EvalRecord(step=step, metrics=metrics, samples=746, seconds=4.2))
            records.append(SampleRecord(step=step, prompt="\n", text=TEXT))
            path = f"runs/{name}/checkpoints/step-{step}"
            records.append(CheckpointRecord(step=step, path=path, bytes=63_000_000, seconds=0.41))
    return records


def step_record(step: int, workers: int = 2, loss: float | None = None) -> StepRecord:
    return StepRecord(
        step=step,
        loss=loss_at(step) if loss is None else loss,
        lr=1e-3 * (1 - step / 600),
        grad_norm=0.8123,
        samples=32 * step,
        tokens=32 * 128 * step,
        samples_per_second=50.9,
        tokens_per_second=6512.3,
        world_size=workers,
        seconds=SECONDS,
        memory_bytes=1_213_000_000,
        elapsed=0.65 * step,
    )


def loss_at(step: int) -> float:
    return 3.4 + 4.2 * math.exp(-step / 90) + 0.05 * math.sin(step)


def end_record(step: int = 500, workers: int = 2, reason: str = "finished") -> EndRecord:
    return EndRecord(
        step=step,
        reason=reason,
        train_loss=loss_at(step),
        metrics={"loss": 3.5212, "perplexity": 33.82, "bits_per_byte": 1.8533},
        tokens=32 * 128 * step,
        samples=32 * step,
        elapsed=325.0,
        tokens_per_second=6500.0,
        samples_per_second=50.8,
        seconds=SECONDS,
        world_size=workers,
        allreduce_bytes=20_980_000,
        allreduce_seconds=0.0189,
        bus_bandwidth=1.11e9,
        mfu=0.4123,
        peak_flops=5.37e11,
        peak_source="measured fp32 matrix product, 2 workers at once",
        memory_bytes=1_213_000_000,
        checkpoint="runs/gpt-shakespeare/checkpoints/step-500",
    )


@pytest.fixture
def recording() -> Callable[..., list[Record]]:
    return make_recording


@pytest.fixture
def make_step() -> Callable[..., StepRecord]:
    return step_record


@pytest.fixture
def make_end() -> Callable[..., EndRecord]:
    return end_record


def interval(median: float, launches: int = 5) -> Interval:
    kind = "one launch" if launches == 1 else "range" if launches < 5 else "95 % bootstrap interval"
    off = 0.0 if launches == 1 else 0.02 * median
    return Interval(median=median, low=median - off, high=median + off, launches=launches, kind=kind)


def size_result(workers: int, mode: str = "weak", launches: int = 5, **changes: object) -> SizeResult:
    """A size whose figures follow from its step by the definitions, so that a test can compute them anew."""
    one, many = 0.5501, workers > 1
    split = {
        "data": 0.00113,
        "forward": 0.17117,
        "backward": 0.35217 + 0.03 * (workers - 1),
        "communication": 0.05 * (workers - 1),
        "imbalance": 0.018 if many else 0.0,
        "optimizer": 0.01963,
        "other": 0.00633,
    }
    step = sum(split.values())
    rate, floor = workers * 1024 / step, one + 0.03 * (workers - 1)
    speedup = rate / (1024 / one)
    values: dict[str, object] = {
        "mode": mode,
        "workers": workers,
        "global_batch_size": 8 * workers,
        "micro_batch_size": 8,
        "samples_per_second": interval(rate / 128, launches),
        "tokens_per_second": interval(rate, launches),
        "step": interval(step, launches),
        "unsynchronised": interval(floor, launches) if many else None,
        "split": split | {"step": step},
        "speedup": interval(speedup, launches),
        "efficiency": interval(speedup / workers, launches),
        "karp_flatt": (1 / speedup - 1 / workers) / (1 - 1 / workers) if many else None,
        "sync_tax": step / floor - 1 if many else None,
        "contention": floor - one if many else None,
        "bytes_per_step": 20_980_000,
        "tensors": 76,
        "allreduce_seconds": 0.0189 * workers if many else None,
        "one_buffer_seconds": 0.015 * workers if many else None,
        "mfu": 0.41,
    }
    return SizeResult.model_validate(values | changes)


def make_study(**changes: object) -> Study:
    over = "4 threads share 2 cores"
    findings = (
        Finding(
            cause="cycle",
            title="The cycle time is too short",
            seconds=0.1204,
            share=0.146,
            evidence=("the engine takes 12 % of a core",),
            change="sync.cycle_time_ms=20",
            gain="about 100 ms a step",
        ),
        Finding(
            cause="contention",
            title="Shared memory",
            seconds=0.09,
            share=0.11,
            evidence=(),
            change="",
            gain="none here",
        ),
    )
    values: dict[str, object] = {
        "name": "gpt-shakespeare",
        "recipe": "gpt-shakespeare.yaml",
        "created": "2026-05-11 10:12",
        "command": "hvdtrain scale gpt-shakespeare --np 1,2,4",
        "controller": "gloo",
        "engine": {"HOROVOD_CYCLE_TIME": "20 (auto)"},
        "repeats": 5,
        "steps": 30,
        "sizes": tuple(
            size_result(n, mode, oversubscribed=over if n == 4 else "")
            for mode in ("weak", "strong")
            for n in (1, 2, 4)
        ),
        "all_cores": size_result(1, threads_per_worker=2, tokens_per_second=interval(3400.0)),
        "diagnoses": (
            Diagnosis(mode="weak", workers=4, verdict="Most of the loss is exposed communication.", findings=findings),
            Diagnosis(mode="strong", workers=4, verdict="Nothing is worth changing."),
        ),
        "laws": (ScalabilityLaw(mode="weak", rate=1861.0, contention=0.05, coherence=0.001, peak_workers=28.2),),
        "failures": (Failure(mode="weak", workers=8, message="worker 3: out of memory"),),
        "notes": ("three sizes are too few for a fit",),
    }
    return Study.model_validate(values | changes)


@pytest.fixture
def study() -> Callable[..., Study]:
    return make_study


@pytest.fixture
def size() -> Callable[..., SizeResult]:
    return size_result
