"""What a scaling sweep found out, as `report.json` holds it: computed in `scaling/`, rendered in `report/`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Mode = Literal["weak", "strong"]


class Part(BaseModel):
    """Base of the parts of a study; keys of a newer version are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_inf_nan="strings")


class Interval(Part):
    """A figure over several launches: its median, and how far it may be off.

    `kind` says what `low` and `high` are: a bootstrap confidence interval takes five launches or more, with fewer they
    are the smallest and the largest, and of a single launch nothing is known.
    """

    median: float
    low: float
    high: float
    launches: int
    kind: Literal["95 % bootstrap interval", "range", "one launch"]


class SizeResult(Part):
    """One number of workers in one mode. Times are in seconds, rates are of all workers together.

    `step` is the median step with synchronisation, `unsynchronised` that of as many workers that do not synchronise
    (None with one worker, where they are the same). `split` holds "step" and `metrics.records.PHASES`, means over
    workers and steps that sum to the step. `allreduce_seconds` is a plain all-reduce of tensors like the gradients,
    `one_buffer_seconds` one of a single buffer of as many bytes; the two bus bandwidths follow from them.
    `oversubscribed` is empty, or says in words how many threads share how many cores.
    """

    mode: Mode
    workers: int
    hosts: int = 1
    threads_per_worker: int = 1
    oversubscribed: str = ""
    global_batch_size: int
    micro_batch_size: int
    gradient_accumulation_steps: int = 1
    samples_per_second: Interval
    tokens_per_second: Interval
    step: Interval
    unsynchronised: Interval | None = None
    split: dict[str, float]
    speedup: Interval | None = None
    efficiency: Interval | None = None
    karp_flatt: float | None = None
    sync_tax: float | None = None
    contention: float | None = None
    bytes_per_step: int = 0
    tensors: int = 0
    allreduce_seconds: float | None = None
    one_buffer_seconds: float | None = None
    bus_bandwidth: float | None = None
    link_bandwidth: float | None = None
    mfu: float | None = None
    memory_bytes: int = 0


class Finding(Part):
    """One reason why the largest size is slower than it could be.

    `seconds` is what it costs in a step, `share` that part of the step; `evidence` are figures, `change` the overrides
    or flags that mend it, to be typed as they stand (empty where nothing that can be typed does), `otherwise` what else
    would, in words, and `gain` what to expect.
    """

    cause: str
    title: str
    seconds: float
    share: float
    evidence: tuple[str, ...]
    change: str
    gain: str
    otherwise: str = ""


class Diagnosis(Part):
    """Why one size of a sweep scales as it does, the largest loss first. No findings: nothing is worth changing."""

    mode: Mode
    workers: int
    verdict: str
    findings: tuple[Finding, ...] = ()


class ScalabilityLaw(Part):
    """Gunther's Universal Scalability Law, X(n) = rate n / (1 + contention (n - 1) + coherence n (n - 1)), fitted."""

    mode: Mode
    rate: float
    contention: float
    coherence: float
    peak_workers: float | None = None


class Failure(Part):
    """A size that could not be measured, and why."""

    mode: Mode
    workers: int
    message: str


class Study(Part):
    """A sweep: one recipe, several numbers of workers.

    `all_cores` is one worker with all cores of its host: what the user would do instead of starting several; `notes`
    hold what a reader must know beside the figures, such as why nothing was fitted.
    """

    name: str
    recipe: str
    created: str
    command: str
    device: str = ""
    precision: str = ""
    controller: str = ""
    engine: dict[str, str] = Field(default_factory=dict)
    repeats: int
    steps: int
    synthetic: bool = False
    sizes: tuple[SizeResult, ...] = ()
    all_cores: SizeResult | None = None
    diagnoses: tuple[Diagnosis, ...] = ()
    laws: tuple[ScalabilityLaw, ...] = ()
    failures: tuple[Failure, ...] = ()
    notes: tuple[str, ...] = ()
    peak_flops: float | None = None
    peak_source: str = ""
    environment: dict[str, Any] = Field(default_factory=dict)

    def of(self, mode: Mode) -> list[SizeResult]:
        """Return the sizes of one mode, by their number of workers."""
        return sorted((size for size in self.sizes if size.mode == mode), key=lambda size: size.workers)
