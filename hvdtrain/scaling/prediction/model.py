"""Predicted steps of workers that are not here: compute times, gradients, engine, links and cluster put together.

    step(n) = data + forward + backward(n) + exposed(n) + imbalance(n) + optimizer + other

The compute times are those of a worker that does not synchronise. `backward(n)` is longer than alone by what the engine
takes from its cores, `exposed(n)` is what `overlap` finds left over at its end, and `imbalance(n)` is the wait for the
slowest worker: with step times spread as measured and independent between workers, the median of the slowest of n is
their quantile at 0.5^(1/n). With gradient accumulation only the last pass communicates.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from hvdtrain.errors import UserError
from hvdtrain.scaling.prediction.allreduce_cost import Software, allreduce_seconds
from hvdtrain.scaling.prediction.links import Cluster
from hvdtrain.scaling.prediction.overlap import (
    NO_CONTEST,
    NOTHING_SENT,
    TOTALS,
    Cores,
    Engine,
    Gradient,
    Timeline,
    average,
)

LARGEST = 2**20
"""Workers beyond which no limit is looked for."""


@dataclass(frozen=True)
class StepProfile:
    """Seconds of the parts of one update of a worker that does not synchronise: the sums over its `passes`.

    `spread` are the deviations of single steps from the median one; empty where nothing was measured.
    """

    data: float
    forward: float
    backward: float
    optimizer: float
    other: float = 0.0
    passes: int = 1
    spread: tuple[float, ...] = ()

    @property
    def step(self) -> float:
        """Seconds of the whole update."""
        return self.data + self.forward + self.backward + self.optimizer + self.other

    def slowest_of(self, workers: int) -> float:
        """Return the seconds by which the slowest of n such workers is behind the median one, in the median step."""
        if not self.spread or workers == 1:
            return 0.0
        values = sorted(self.spread)
        return max(0.0, _quantile(values, 0.5 ** (1 / workers)) - _quantile(values, 0.5))


@dataclass(frozen=True)
class Workload:
    """What each worker does, and with what.

    Attributes:
        profile: the compute times.
        gradients: in backward's order; their times are scaled to the profile's last pass.
        engine: knobs of the engine.
        software: what library and hosts add to the links.
        tokens: of one worker, in an update.
        samples: likewise.
        threads: of a worker; None where it computes on a device of its own.
    """

    profile: StepProfile
    gradients: tuple[Gradient, ...]
    engine: Engine
    software: Software
    tokens: float
    samples: float
    threads: int | None = None

    @property
    def wire_bytes(self) -> int:
        """Bytes that a worker hands to the engine for one update."""
        return sum(gradient.bytes for gradient in self.gradients)

    def share_of(self, global_batch_size: int, workers: int, micro_batch_size: int) -> Workload:
        """Return the workload of one of n workers that share a global batch; compute times follow the samples.

        Raises:
            UserError: the batch can't be cut into equal shares.
        """
        if global_batch_size % workers:
            fitting = [n for n in range(1, global_batch_size + 1) if global_batch_size % n == 0]
            raise UserError(
                f"--np {workers}: train.global_batch_size {global_batch_size} can't be cut into {workers} equal "
                f"shares; these numbers can: {', '.join(map(str, fitting[:12]))}{', ...' if len(fitting) > 12 else ''}"
            )
        samples = global_batch_size // workers
        micro = max(m for m in range(1, min(micro_batch_size, samples) + 1) if samples % m == 0)
        factor = samples / self.samples
        old = self.profile
        profile = replace(
            old,
            data=old.data * factor,
            forward=old.forward * factor,
            backward=old.backward * factor,
            passes=samples // micro,
            spread=tuple(value * factor for value in old.spread),
        )
        return replace(self, profile=profile, samples=samples, tokens=self.tokens * factor)


@dataclass(frozen=True)
class Prediction:
    """A step of n workers, in seconds.

    `split` holds "step" and `metrics.records.PHASES`, which sum to it; `efficiency` is against n times one worker;
    `communication` is what all of the step's all-reduces take, exposed or not, `latency` the part of that which does
    not depend on bytes, `buffers` their number. `polling` and `stolen` are what the engine takes from the compute.
    """

    workers: int
    hosts: int
    step: float
    split: dict[str, float]
    efficiency: float
    speedup: float
    tokens_per_second: float
    samples_per_second: float
    exposed: float
    communication: float
    latency: float
    buffers: float
    polling: float
    stolen: float


def predict(work: Workload, cluster: Cluster, alone: StepProfile | None = None) -> Prediction:
    """Predict the step of a cluster's workers.

    Args:
        work: of each of them.
        cluster: them.
        alone: the step that one worker would do instead: of the whole global batch for strong scaling; by default the
            same as each of the n does.
    """
    n, profile = cluster.workers, work.profile
    slower = 1.0 + (work.engine.polling / work.engine.cycle if n > 1 and work.engine.cycle > 0 else 0.0)
    last_pass = profile.backward / profile.passes * slower
    timeline = _communicate(work, cluster, last_pass) if n > 1 and work.wire_bytes else NOTHING_SENT
    stolen = timeline.backward - last_pass if timeline.cycles else 0.0
    split = {
        "data": profile.data * slower,
        "forward": profile.forward * slower,
        "backward": profile.backward * slower + stolen,
        "communication": timeline.exposed,
        "imbalance": profile.slowest_of(n),
        "optimizer": profile.optimizer * slower,
        "other": profile.other * slower,
    }
    step = sum(split.values())
    speedup = (alone or profile).step / step * (1 if alone else n)
    return Prediction(
        workers=n,
        hosts=cluster.hosts,
        step=step,
        split={"step": step, **split},
        efficiency=speedup / n,
        speedup=speedup,
        tokens_per_second=n * work.tokens / step,
        samples_per_second=n * work.samples / step,
        exposed=timeline.exposed,
        communication=timeline.working,
        latency=allreduce_seconds(0, cluster, work.software) * (timeline.buffers + timeline.cycles),
        buffers=timeline.buffers,
        polling=profile.step * (slower - 1),
        stolen=stolen,
    )


def _communicate(work: Workload, cluster: Cluster, backward: float) -> Timeline:
    """Return what the engine does beside a backward pass of so many seconds, and after it."""
    return average(
        [*_fitted(work.gradients, backward), TOTALS],
        backward,
        work.engine,
        buffer_cost(cluster, work.software),
        negotiation=allreduce_seconds(8, cluster, work.software),
        cores=_cores(work, cluster),
    )


def buffer_cost(cluster: Cluster, software: Software) -> Callable[[float, int], float]:
    """Return what reducing a buffer costs.

    Several tensors are copied into the buffer and back out, which is taken to cost as much for each byte as summing it.
    """

    def cost(size: float, tensors: int) -> float:
        copies = 2 * software.reduce * size if tensors > 1 else 0.0
        return allreduce_seconds(size, cluster, software) + copies

    return cost


def find_limit(efficiency: Callable[[int], float], floor: float, per_host: int = 1, least: int = 1) -> int | None:
    """Return the largest number of workers that keeps the efficiency at the floor or above.

    Looks at whole hosts beyond the first, doubling until the efficiency is below and then halving the gap: efficiency
    is taken to fall with the workers, as it does but for ripples of the engine's cycle. None: it is still at the floor
    with `LARGEST` workers.
    """
    sizes = [*range(least, per_host), *(per_host * 2**k for k in range(21) if per_host * 2**k <= LARGEST)]
    below = next((n for n in sizes if efficiency(n) < floor), None)
    if below is None:
        return None
    good = max((n for n in sizes if n < below), default=0)
    if below <= per_host:
        return good
    low, high = good // per_host, below // per_host
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if efficiency(middle * per_host) >= floor else (low, middle)
    return max(good, low * per_host)


def assumed_times(sizes: Sequence[int]) -> tuple[Gradient, ...]:
    """Return gradients of parameters in the model's order, where their times were not measured.

    Backward goes through the model from its end, and is taken to need as long for a parameter as its share of all
    bytes: a matrix product takes the time of its weights.
    """
    total, ready, found = sum(sizes), 0, []
    for size in reversed(sizes):
        ready += size
        found.append(Gradient(size, ready / total))
    return tuple(found)


def _fitted(gradients: Sequence[Gradient], backward: float) -> list[Gradient]:
    """Scale the times so that the last gradient is ready at the end of backward."""
    last = max(gradient.ready for gradient in gradients)
    factor = backward / last if last > 0 else 0.0
    return [replace(gradient, ready=gradient.ready * factor) for gradient in gradients]


def _cores(work: Workload, cluster: Cluster) -> Cores:
    if work.threads is None or cluster.cores is None:
        return NO_CONTEST
    alone = allreduce_seconds(work.wire_bytes, cluster, work.software)
    moving = work.software.processor * work.wire_bytes / alone if alone else 0.0
    return Cores(
        cluster.cores / cluster.local,
        work.threads,
        engine=max(work.software.busy, moving),
        measured=work.software.beside,
    )


def _quantile(values: Sequence[float], share: float) -> float:
    """Return the quantile of sorted values, interpolated between the middles of their steps."""
    place = min(max(share * len(values) - 0.5, 0.0), len(values) - 1.0)
    low = math.floor(place)
    high = min(low + 1, len(values) - 1)
    return values[low] + (place - low) * (values[high] - values[low])
