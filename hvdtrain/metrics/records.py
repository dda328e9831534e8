"""What the training loop yields, what `metrics.jsonl` holds, and what `launch` reads from rank 0: the same records.

Each record is one JSON object whose `event` names its type; `metrics/lines.py` reads and writes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

PHASES = ("data", "forward", "backward", "communication", "imbalance", "optimizer", "other")
"""The parts of a step, in order. `communication` is the exposed part: waiting in synchronize, less the imbalance."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """Base of all records. `step` counts the updates done when the record was made."""

    event: ClassVar[str]
    step: int


@dataclass(frozen=True, kw_only=True)
class StartRecord(Record):
    """The run as it is about to begin or to go on: everything a reader needs to interpret the records that follow.

    `unit` is what a target is called, "tokens" or "samples"; `train_targets` and `val_targets` count them, and wherever
    a record says tokens it counts targets. `flops_per_token` is the cost of one target; `objective` the metric by which
    checkpoints are chosen, with "min" or "max"; `references` are marks to hold a metric against, by metric and name.
    Of the `world_size` workers the last `servers` only serve: they train on nothing.
    """

    event: ClassVar[str] = "start"
    name: str
    output_dir: str
    world_size: int
    hosts: int
    device: str
    threads_per_worker: int
    precision: str
    precision_reason: str
    total_steps: int
    global_batch_size: int
    micro_batch_size: int
    gradient_accumulation_steps: int
    learning_rate: float
    learning_rate_rule: str
    parameters: int
    flops_per_token: float
    train_targets: int
    val_targets: int
    unit: str = "tokens"
    loss_unit: str = ""
    objective: tuple[str, str] = ("loss", "min")
    references: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    sync: str = "none"
    engine: Mapping[str, str] = field(default_factory=dict)
    resumed_from: str | None = None
    notes: tuple[str, ...] = ()
    servers: int = 0


@dataclass(frozen=True, kw_only=True)
class StepRecord(Record):
    """One update of the parameters, or the mean of the `log_interval` updates that end at `step` where it is logged.

    `loss` is the mean over all valid targets of the global batch, of the last phase where a step has several, and
    `losses` then that of each phase; `samples` and `tokens` count all workers since the start of training; the rates
    are sums over all workers; `seconds` holds "step" and each of `PHASES`, the mean over workers that train of one
    update's time, whose parts sum to the step. `memory_bytes` is the largest worker's resident memory (device memory on
    a GPU).
    """

    event: ClassVar[str] = "step"
    loss: float
    lr: float
    grad_norm: float
    samples: int
    tokens: int
    samples_per_second: float
    tokens_per_second: float
    world_size: int
    seconds: Mapping[str, float]
    memory_bytes: int = 0
    elapsed: float = 0.0
    losses: Mapping[str, float] = field(default_factory=dict)
    servers: int = 0


@dataclass(frozen=True, kw_only=True)
class EvalRecord(Record):
    """An evaluation on all workers; `metrics` holds for a language model `loss` (nats a token), `perplexity`,
    `bits_per_byte`. `part` is the part of the data, "val" or "test"; `best` says that no evaluation of the run was
    better by its objective.
    """

    event: ClassVar[str] = "eval"
    metrics: Mapping[str, float]
    samples: int
    seconds: float
    part: str = "val"
    best: bool = False


@dataclass(frozen=True, kw_only=True)
class SampleRecord(Record):
    """Something that the model made, for a person to look at: text, or the path of an image, or both."""

    event: ClassVar[str] = "sample"
    prompt: str
    text: str
    image: str = ""


@dataclass(frozen=True, kw_only=True)
class CheckpointRecord(Record):
    """A checkpoint that is complete on the disk."""

    event: ClassVar[str] = "checkpoint"
    path: str
    bytes: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class ResizeRecord(Record):
    """The number of workers changed, by a resume at another size or an elastic restart."""

    event: ClassVar[str] = "resize"
    before: int
    after: int


@dataclass(frozen=True, kw_only=True)
class ProblemRecord(Record):
    """Something that went wrong, and what the run did about it, as its recipe says."""

    event: ClassVar[str] = "problem"
    problem: str
    action: str


@dataclass(frozen=True, kw_only=True)
class EndRecord(Record):
    """The end of a run.

    `reason` is "finished", "converged" (early stopping), "stopped" (signal; a checkpoint was saved) or "failed";
    `best` is the checkpoint of the best evaluation; `seconds` maps as in `StepRecord`
    (means over the logged steps after the first); `allreduce_bytes` are the gradient bytes a worker hands to the
    engine in a step, `bus_bandwidth` (bytes a second) is that of a plain all-reduce of the same tensors, `mfu` the
    share of `peak_flops` (the sum over workers that train; `peak_source` says how it was found) that the model's FLOPs
    took; `server_bytes` are those that the busiest parameter server's link carries in and out in a step.
    """

    event: ClassVar[str] = "end"
    reason: str
    train_loss: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    tokens: int = 0
    samples: int = 0
    elapsed: float = 0.0
    tokens_per_second: float = 0.0
    samples_per_second: float = 0.0
    seconds: Mapping[str, float] = field(default_factory=dict)
    world_size: int = 1
    allreduce_bytes: int = 0
    allreduce_seconds: float | None = None
    bus_bandwidth: float | None = None
    mfu: float | None = None
    peak_flops: float | None = None
    peak_source: str = ""
    memory_bytes: int = 0
    checkpoint: str | None = None
    best: str | None = None
    servers: int = 0
    server_bytes: tuple[int, int] | None = None


@dataclass(frozen=True, kw_only=True)
class TrialRecord(Record):
    """What one worker measured of a short run, for a scaling sweep, a prediction or a search for good knobs.

    Each of the three blocks of steps holds, for each step, `metrics.timing.StepTimes`; all workers begin a block
    together. `synchronised` is training as it is; `idle` steps are not synchronised while the engine runs beside them
    with nothing to do; `floor` steps are not synchronised and no engine runs. With one worker only `floor` is there.

    `wall` are the seconds of the whole synchronised block (of the floor with one worker). `allreduce` has a row
    [bytes, seconds] for each plain all-reduce of one buffer, the largest last, which takes `allreduce_processor`
    seconds of the machine's processors for each worker on it; `beside` are the speeds that computing and all-reducing
    keep beside each other, 1 being each one's alone; `latencies` are those of tiny ones,
    begun at random moments of the engine's cycle. `gradients` has a row [bytes, seconds after the beginning of
    backward, name] in the order in which backward made them. `reduce_seconds_per_byte` is what summing two buffers
    takes. `processor` holds for the blocks "synchronised" and "floor" the seconds "wall", "own" (this process on all
    its threads) and "machine" (all that ran on `machine`, which hosts that are containers may share).
    """

    event: ClassVar[str] = "trial"
    rank: int
    world_size: int
    host: str
    machine: str = ""
    machine_cores: int = 1
    local_size: int
    cores: int
    threads: int
    device: str
    precision: str
    controller: str
    engine: Mapping[str, str] = field(default_factory=dict)
    global_batch_size: int
    micro_batch_size: int
    gradient_accumulation_steps: int
    samples: int
    tokens: int
    unit: str = "tokens"
    wall: float
    synchronised: tuple[Mapping[str, float], ...] = ()
    idle: tuple[Mapping[str, float], ...] = ()
    floor: tuple[Mapping[str, float], ...] = ()
    compression: str = "none"
    bytes_per_step: int = 0
    tensors: int = 0
    allreduce_seconds: float | None = None
    one_buffer_seconds: float | None = None
    allreduce: tuple[tuple[float, float], ...] = ()
    allreduce_processor: float | None = None
    beside: tuple[float, float] | None = None
    latencies: tuple[float, ...] = ()
    gradients: tuple[tuple[int, float, str], ...] = ()
    processor: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    reduce_seconds_per_byte: float | None = None
    flops_per_token: float = 0.0
    peak_flops: float | None = None
    peak_source: str = ""
    memory_bytes: int = 0
    notes: tuple[str, ...] = ()


TYPES: dict[str, type[Record]] = {
    kind.event: kind
    for kind in (
        StartRecord,
        StepRecord,
        EvalRecord,
        SampleRecord,
        CheckpointRecord,
        ResizeRecord,
        ProblemRecord,
        EndRecord,
        TrialRecord,
    )
}
