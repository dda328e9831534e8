"""`hvdtrain estimate` without its printing: where each input comes from, and the predictions made of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from hvdtrain.errors import UserError
from hvdtrain.launched import usable_cores
from hvdtrain.report import format as fmt
from hvdtrain.scaling.prediction.allreduce_cost import Software
from hvdtrain.scaling.prediction.bounds import diagnosis
from hvdtrain.scaling.prediction.calibration import calibrate, engine_of
from hvdtrain.scaling.prediction.links import Cluster, Link, format_rate
from hvdtrain.scaling.prediction.memory import Memory, Shapes, memory
from hvdtrain.scaling.prediction.model import (
    Prediction,
    StepProfile,
    Workload,
    assumed_times,
    find_limit,
    predict,
)
from hvdtrain.scaling.prediction.request import Estimate, Request
from hvdtrain.scaling.trial import ENDLESS, Task, run_trial

if TYPE_CHECKING:
    from hvdtrain.metrics.records import TrialRecord
    from hvdtrain.recipe import LoadedRecipe, Recipe

GLOO_RATE = 1.2e9
"""Bytes a second that Gloo moves between two workers of one machine, measured on two cores; a host's limit where none
was measured."""
ENGINE_CORES = 0.3
"""Cores that a worker's engine keeps busy while it waits for a slow link, seen with Gloo at 200 Mbit/s and 1 Gbit/s;
where all-reduces are measured, so is this."""
LATENCY = {True: 20e-6, False: 50e-6}
"""Seconds a message where none are given, by whether workers compute on devices of their own: NCCL over RDMA or fast
Ethernet, Gloo over TCP."""
BACKWARD_SHARE = 2 / 3
"""Part of a given or computed step that is backward: each product of the forward pass has two in it."""


@dataclass
class _Case:
    """A request while its inputs are found."""

    request: Request
    loaded: LoadedRecipe
    shapes: Shapes
    on_device: bool
    compression: str
    inputs: list[str] = field(default_factory=list)

    @property
    def cores(self) -> int | None:
        return None if self.on_device else usable_cores()


def estimate(request: Request, say: Callable[[str], None]) -> Estimate:
    """Predict what is asked; `say` is told what takes time.

    Raises:
        UserError: the request can't be met; names the option.
        RunError: a measurement failed.
    """
    from hvdtrain.recipe import load
    from hvdtrain.scaling.worker.shapes import has_gpu, shapes

    _check(request)
    loaded = load(request.source, list(request.overrides))
    if request.mode == "strong" and loaded.recipe.train.global_batch_size is None:
        raise UserError("--mode strong holds the global batch fixed, and the recipe has none: set "
                        "train.global_batch_size, or use --mode weak")  # fmt: skip
    elsewhere = request.step_time is not None or request.device_flops is not None
    compression = request.compression or str(getattr(loaded.recipe.sync, "compression", "none"))
    case = _Case(request, loaded, shapes(loaded.recipe), elsewhere or has_gpu(), compression)
    work = _workload(case, say)
    work, outer, inner = _network(case, work, say)
    return _predicted(case, work, outer, inner)


def _check(request: Request) -> None:
    if request.link is None and not request.measured:
        raise UserError("--link says what joins the workers, such as --link 25Gbit; or measure it here with --measured")
    if request.step_time is not None and request.device_flops is not None:
        raise UserError("--step-time and --device-tflops exclude each other: both say how long a worker computes")
    if request.step_time == 0:
        raise UserError("--step-time: expected more than no time, such as 120ms")
    if not 0 < request.floor < 1:
        raise UserError(f"--floor {request.floor:g}: expected an efficiency between 0 and 1, such as 0.9")
    if not 0 < request.mfu <= 1:
        raise UserError(f"--mfu {request.mfu:g}: expected a share of the device's peak, such as 0.4")
    if request.inner_link is not None and request.per_host == 1:
        raise UserError("--inner-link joins the workers of a host, and there is one a host: give --per-host too")
    if request.hierarchical and request.per_host == 1:
        raise UserError("--hierarchical reduces inside hosts first, and there is one worker a host: give --per-host")


def _workload(case: _Case, say: Callable[[str], None]) -> Workload:
    """Return what each worker does, of one micro batch an update; notes where the times are from."""
    from hvdtrain.scaling.worker.shapes import engine_knobs

    request, shapes = case.request, case.shapes
    knobs = engine_knobs(case.loaded, case.on_device)
    engine = engine_of(knobs, getattr(case.loaded.recipe.sync, "groups", None))
    case.inputs.append(f"engine: {fmt.engine(knobs)}")
    if request.step_time is None and request.device_flops is None:
        say("measuring steps of one worker ...")
        work = replace(calibrate(_measure_one(case), case.compression).work, engine=engine)
        if request.steady:
            work = replace(work, profile=replace(work.profile, spread=()))
            case.inputs.append("assumed: workers do not vary (--steady)")
        threads = "" if work.threads is None else f" with {fmt.plural(work.threads, 'thread')}"
        case.inputs.append(f"compute: measured here, one worker{threads}: {fmt.seconds(work.profile.step)} a step")
        return work
    if request.step_time is not None:
        seconds = request.step_time
        case.inputs.append(f"compute: {fmt.seconds(seconds)} a step, as given")
    else:
        assert request.device_flops is not None
        seconds = shapes.flops / (request.device_flops * request.mfu)
        case.inputs.append(
            f"compute: {fmt.seconds(seconds)} a step, from {fmt.quantity(shapes.flops, 'FLOP')} of "
            f"{shapes.samples} samples on {fmt.quantity(request.device_flops, 'FLOP/s')} x {fmt.percent(request.mfu)}"
        )
    case.inputs += [
        "assumed: one third of it is forward, two thirds backward; workers do not vary",
        "assumed: backward makes each gradient in proportion to the bytes behind it",
        "assumed: workers compute on devices of their own, which communication does not slow",
    ]
    width = 0.5 if case.compression == "fp16" else 1.0
    return Workload(
        profile=StepProfile(0.0, seconds * (1 - BACKWARD_SHARE), seconds * BACKWARD_SHARE, 0.0),
        gradients=assumed_times([int(size * width) for _, size in shapes.trained]),
        engine=engine,
        software=Software(),
        tokens=shapes.tokens,
        samples=shapes.samples,
    )


def _network(case: _Case, work: Workload, say: Callable[[str], None]) -> tuple[Workload, Link, Link]:
    """Return the work with what software adds, and the links between hosts and inside them; notes what is assumed."""
    request, software = case.request, work.software
    default = LATENCY[case.on_device]
    if request.measured:
        say("measuring all-reduces of two workers ...")
        software, polling = _fitted(case)
        work = replace(work, engine=replace(work.engine, polling=polling))
        default = 0.0
    elif not case.on_device:
        software = replace(software, seconds_per_byte=1 / GLOO_RATE, processor=1 / GLOO_RATE, busy=ENGINE_CORES)
        case.inputs.append(
            f"assumed: hosts move {fmt.size(GLOO_RATE)}/s at most, and keep a core busy with it, {ENGINE_CORES:g} "
            "of one where the link is slower (--measured tells)"
        )
    latency = default if request.latency is None else request.latency
    if request.latency is None and default:
        case.inputs.append(f"assumed: {fmt.seconds(default)} a message (--latency)")
    outer = Link(request.link or math.inf, latency)
    inside = min(latency, 5e-6) if request.inner_latency is None else request.inner_latency
    inner = Link(request.inner_link or math.inf, inside)
    case.inputs.append(f"between hosts: {'what was measured' if request.link is None else outer}")
    if request.per_host > 1:
        limit = "no limit but the software" if request.inner_link is None else str(inner)
        case.inputs.append(f"inside a host of {request.per_host} workers: {limit}")
    if request.link is not None:
        case.inputs.append(f"assumed: {fmt.percent(outer.payload)} of {format_rate(outer.rate)} carries data")
    return replace(work, software=software), outer, inner


def _fitted(case: _Case) -> tuple[Software, float]:
    """Return the software's constants and what the engine's polling costs a cycle, as two workers here show them."""
    records = _measure_two(case)
    measured = calibrate(records, case.compression)
    fit, software = measured.fit, measured.work.software
    here, there = usable_cores() / 2, usable_cores() / case.request.per_host
    if case.on_device or here != there:
        # What computing and all-reducing do to each other depends on the cores of each worker.
        software = replace(software, beside=None)
    if fit is None:
        raise UserError(f"--measured: {measured.reason}; give the link with --link instead")
    case.inputs.append(
        f"measured here with two workers: {fmt.seconds(fit.latency)} a message, "
        f"{fmt.size(1 / fit.seconds_per_byte) if fit.seconds_per_byte else 'unlimited '}/s, "
        f"summing at {fmt.size(1 / fit.reduce) if fit.reduce else 'unlimited '}/s "
        f"(fit of {fit.sizes} sizes, {fmt.percent(fit.error, 1)} off in the root mean square)"
    )
    return software, measured.work.engine.polling


def _measure_one(case: _Case) -> list[TrialRecord]:
    """Measure a worker that computes alone, with the cores that it would have among those of its host."""
    recipe = case.loaded.recipe
    overrides = [*case.request.overrides, *ENDLESS, "train.global_batch_size=null"]
    if recipe.train.threads_per_worker == "auto" and not case.on_device:
        overrides.append(f"train.threads_per_worker={max(1, usable_cores() // case.request.per_host)}")
    task = Task(case.request.source, tuple(overrides), steps=case.request.steps, sweep=False, synthetic=True)
    return run_trial(task, 1)


def _measure_two(case: _Case) -> list[TrialRecord]:
    """Measure all-reduces of two workers here; their steps are few, and only the engine beside them counts."""
    overrides = (*case.request.overrides, *ENDLESS, "train.global_batch_size=null")
    if case.compression == "fp16":
        overrides = (*overrides, "sync.compression=fp16")
    task = Task(case.request.source, overrides, warmup=1, steps=4, seconds=0.0, gradients=True, synthetic=True)
    return run_trial(task, 2)


def _predicted(case: _Case, work: Workload, outer: Link, inner: Link) -> Estimate:
    request, train = case.request, case.loaded.recipe.train

    def cluster(n: int) -> Cluster:
        return Cluster(n, outer, inner, request.per_host, case.cores, request.hierarchical)

    def at(n: int) -> Prediction:
        if request.mode == "weak":
            return predict(work, cluster(n))
        whole = train.global_batch_size or 0
        alone = work.share_of(whole, 1, train.micro_batch_size).profile
        return predict(work.share_of(whole, n, train.micro_batch_size), cluster(n), alone)

    predictions = tuple(at(n) for n in request.workers)
    last = predictions[-1]
    return Estimate(
        recipe=case.loaded.recipe.name,
        mode=request.mode,
        alone=at(1).step,
        predictions=predictions,
        memory=_memory(case, work, max(request.workers)),
        floor=request.floor,
        limit=_limit(case, at),
        diagnosis=diagnosis(work, cluster(last.workers), last),
        inputs=(*case.inputs, *case.shapes.notes),
        bytes_per_step=work.wire_bytes,
        tensors=len(work.gradients),
        unit=case.shapes.unit,
    )


def _limit(case: _Case, at: Callable[[int], Prediction]) -> int | None:
    """Strong scaling has only the sizes that divide the batch; weak scaling all whole hosts."""
    request = case.request
    if request.mode == "weak":
        return find_limit(lambda n: at(n).efficiency, request.floor, request.per_host)
    whole = case.loaded.recipe.train.global_batch_size or 0
    sizes = [n for n in range(1, whole + 1) if whole % n == 0 and (n <= request.per_host or n % request.per_host == 0)]
    return max((n for n in sizes if at(n).efficiency >= request.floor), default=1)


def _memory(case: _Case, work: Workload, workers: int) -> Memory:
    recipe: Recipe = case.loaded.recipe
    return memory(case.shapes, recipe.optimizer.model_dump(), work.engine.fusion_bytes, workers, case.compression)
