"""The training loop: a generator that does one update of the parameters each time it is asked for the next.

Every worker hands its share of the global batch's mean loss to backward, so that summing the gradients over workers
gives the gradient of that mean, also where workers hold different numbers of targets.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from hvdtrain.errors import NonFiniteError, shared
from hvdtrain.train import nonfinite, replicas
from hvdtrain.train.nonfinite import Statistics, seed_step
from hvdtrain.train.precision import Precision
from hvdtrain.train.schedules import Schedule
from hvdtrain.train.statistics import RunningStatistics
from hvdtrain.train.timing import Stopwatch

if TYPE_CHECKING:
    from hvdtrain.data.encoders import Encoder
    from hvdtrain.data.loader import Loader
    from hvdtrain.sync._strategy import Strategy
    from hvdtrain.tasks._task import Batch, Phase, Task
    from hvdtrain.train.interrupt import Interrupt
    from hvdtrain.world import Pending, World


@dataclass(frozen=True)
class Update:
    """What one update did. `loss` is the mean over the valid targets of the global batch, of the last phase, and
    `losses` that of each phase; `stop` says that some worker was asked to stop, `skipped` why parameters were left as
    they were."""

    step: int
    loss: float
    lr: float
    grad_norm: float
    samples: int
    targets: int
    stop: bool
    losses: Mapping[str, float] = field(default_factory=dict)
    skipped: str = ""


@dataclass(frozen=True)
class PhaseRun:
    """A phase of the task with what runs it: its strategy, and the model's parameters that it trains."""

    phase: Phase
    strategy: Strategy
    parameters: Sequence[torch.nn.Parameter]


@dataclass
class Loop:
    """Everything that an update needs. `passes` is the number of micro batches a worker runs for one update;
    `step` counts the updates done. `empty_batch` is there where a pass without samples must go through the model
    nevertheless, because its layers take part in collectives. The last `servers` workers only serve: no batch is
    loaded for them, and they run neither forward nor backward. Of updates that are no numbers `most_skipped` in a row
    are left out; so far `skipped` were."""

    world: World
    model: torch.nn.Module
    task: Task
    encoder: Encoder
    phases: Sequence[PhaseRun]
    loader: Loader
    precision: Precision
    schedule: Schedule
    stopwatch: Stopwatch
    interrupt: Interrupt
    device: torch.device
    seed: int
    passes: int
    global_batch_size: int
    max_grad_norm: float | None
    total_steps: int
    empty_batch: Callable[[], Batch] | None = None
    servers: int = 0
    most_skipped: int = 0
    step: int = 0
    skipped: int = field(default=0, init=False)
    statistics: RunningStatistics = field(init=False)

    def __post_init__(self) -> None:
        self.statistics = RunningStatistics(self.model, self.world, self.training_workers)

    def updates(self) -> Iterator[Update]:
        """Do updates until `total_steps`.

        Raises:
            NonFiniteError: a loss or gradient is infinite or NaN, and was so in as many updates before as may be
                skipped; the parameters are as they were before that update.
        """
        while self.step < self.total_steps:
            self.stopwatch.start()
            yield self._update()

    @property
    def training_workers(self) -> int:
        """How many workers train: those of lower ranks than the servers."""
        return self.world.size - self.servers

    @property
    def coupled(self) -> bool:
        """Whether the workers' updates depend on each other at every step: then all see the same losses."""
        return self.phases[-1].strategy.coupled

    @property
    def synchronises(self) -> bool:
        """Whether the workers ever agree on a model."""
        return all(run.strategy.synchronises for run in self.phases)

    @contextmanager
    def agreed(self) -> Iterator[None]:
        """Let the model have the parameters that all workers agree on, for an evaluation or a checkpoint."""
        with ExitStack() as stack:
            if self.synchronises:
                stack.enter_context(self.statistics.averaged())
            for run in self.phases:
                stack.enter_context(run.strategy.agreed())
            yield

    def check_weights(self) -> None:
        """Make sure that all parameters are numbers: a huge step can overflow them without a bad loss or gradient yet.

        Raises:
            NonFiniteError: raised on all workers where it is so on one; names them.
        """
        own = all(bool(p.isfinite().all()) for run in self.phases for p in run.parameters)
        bad = [str(rank) for rank, finite in enumerate(self.world.gather(own)) if not finite]
        if bad:
            raise shared(NonFiniteError(f"step {self.step}: non-finite weights on worker {', '.join(bad)}"))

    def check_replicas(self) -> None:
        """Make sure that the workers that train have the same model, in the context of `agreed`.

        Raises:
            DivergedError: they have not; raised on all workers.
        """
        if self.synchronises:
            replicas.check(dict(self.model.named_parameters()), self.world, self.training_workers, self.step)

    def _update(self) -> Update:
        seed_step(self.seed, self.step, self.world.rank)
        lr = self.schedule(self.step)
        batches = next(self.loader)
        self.stopwatch.mark("data")
        totals, norms, losses = torch.zeros(_Totals.WIDTH, dtype=torch.float64), [], {}
        skipped = ""
        for run in self.phases:
            before = Statistics(self.model) if self.most_skipped else None
            with _training_only(run, self.phases):
                pending = self._backward(run, batches)
            if run.strategy.feeds_back:
                totals = pending.wait().cpu()
                self._weigh([p.grad for p in run.parameters if p.grad is not None], totals)
                run.strategy.synchronize()
            else:
                run.strategy.synchronize()
                totals = pending.wait().cpu()
            self.stopwatch.mark("wait")
            try:
                norms.append(self._apply(run, lr, batches, totals))
            except NonFiniteError as error:
                skipped = self._skip(run, before, error)
            losses[run.phase.name] = float(totals[_Totals.LOSS] / totals[_Totals.TARGETS].clamp(min=1))
            self.stopwatch.mark("optimizer")
            run.strategy.publish()
            if run.strategy.publishes:
                self.stopwatch.mark("wait")
        self.step += 1
        self.skipped = self.skipped + 1 if skipped else 0
        # Workers that are not coupled see their own flag only; they agree where they log.
        stop = self.coupled and bool(totals[_Totals.STOP])
        loss = losses[self.phases[-1].phase.name]
        samples, targets = int(totals[_Totals.SAMPLES]), int(totals[_Totals.TARGETS])
        return Update(self.step, loss, lr, max(norms, default=math.nan), samples, targets, stop, losses, skipped)

    def _skip(self, run: PhaseRun, before: Statistics | None, error: NonFiniteError) -> str:
        """Leave an update out, as if its batch had never been; return why. Raises the error where no more may be."""
        if before is None:
            raise error
        if self.skipped >= self.most_skipped:
            told = NonFiniteError(f"{error}, after {self.skipped} updates in a row that were skipped for the like")
            told.shared = error.shared
            raise told from error
        before.put_back()
        run.strategy.discard()
        self.precision.updated()
        return str(error)

    def _backward(self, run: PhaseRun, batches: Sequence[Batch]) -> Pending:
        """Run forward and backward over this worker's micro batches; return the sums over workers, still under way."""
        expected = self.global_batch_size * self.task.targets_per_sample
        factor = run.strategy.loss_factor / expected
        mine = torch.zeros(_Totals.WIDTH, dtype=torch.float64, device=self.device)
        mine[_Totals.STOP] = float(self.interrupt.requested)
        pending: Pending | None = None
        for index, batch in enumerate(batches):
            targets = self.task.count(batch)
            on_device = {name: tensor.to(self.device, non_blocking=True) for name, tensor in batch.items()}
            with self.precision.autocast():
                loss = run.phase.loss(self.model, on_device)
            mine[_Totals.LOSS] += loss.detach()
            mine[_Totals.TARGETS] += targets
            mine[_Totals.SAMPLES] += len(next(iter(batch.values())))
            self.stopwatch.mark("forward")
            if index == self.passes - 1:
                pending = self._share(run, mine)
            torch.autograd.backward(self.precision.scale(loss * factor))
            self.stopwatch.mark("backward")
        if self.world.rank < self.training_workers:
            for _ in range(self.passes - len(batches)):
                self._idle_pass(run)
        return pending or self._share(run, mine)

    def _idle_pass(self, run: PhaseRun) -> None:
        """Run a backward pass that adds nothing: the engine counts passes, and all workers must do the same number."""
        nothing = torch.stack([p.sum() for p in run.parameters]).sum() * 0.0
        if self.empty_batch is not None:
            empty = {name: tensor.to(self.device) for name, tensor in self.empty_batch().items()}
            with self.precision.autocast():
                nothing = nothing + run.phase.loss(self.model, empty) * 0.0
        torch.autograd.backward(nothing)

    def _share(self, run: PhaseRun, mine: torch.Tensor) -> Pending:
        """Begin to sum the totals over workers, beside the gradients, so that knowing them costs no wait of its own."""
        if run.strategy.coupled:
            return self.world.start_sum(mine, f"totals.{run.phase.name}")
        from hvdtrain.world import Solo

        return Solo().start_sum(mine * self.world.size, "")

    def _apply(self, run: PhaseRun, lr: float, batches: Sequence[Batch], totals: torch.Tensor) -> float:
        """Scale to the true number of targets, check, clip and step; return the gradient's global norm before
        clipping.
        """
        optimizer = run.strategy.optimizer
        self.precision.unscale_(optimizer)
        updated = run.strategy.parameters
        gradients = [p.grad for p in updated if p.grad is not None]
        if not run.strategy.feeds_back:
            self._weigh(gradients, totals)
        norm = run.strategy.total_norm(gradients)
        if run.strategy.publishes:
            self.stopwatch.mark("wait")
        overflow_is_handled = self.precision.scaler is not None
        # All workers see the same sums, so all of them stop here or none does; one that is not coupled stops alone.
        if not (totals[_Totals.LOSS].isfinite() and (norm.isfinite() or overflow_is_handled)):
            raise nonfinite.error(self, run, batches)
        if self.max_grad_norm is not None and norm + 1e-6 > self.max_grad_norm:
            torch.nn.utils.clip_grads_with_norm_(updated, self.max_grad_norm, norm)
        for group in optimizer.param_groups:
            group["lr"] = lr * run.phase.lr_factor
        run.strategy.step(self.precision.scaler)
        self.precision.updated()
        run.strategy.zero_grad()
        return float(norm)

    def _weigh(self, gradients: list[torch.Tensor], totals: torch.Tensor) -> None:
        """Let gradients be those of the mean over the targets that there were, not over as many as were expected."""
        expected = self.global_batch_size * self.task.targets_per_sample
        targets = int(totals[_Totals.TARGETS])
        if gradients and targets != expected:
            torch._foreach_mul_(gradients, expected / max(1, targets))


class _Totals:
    """Where the summed quantities lie in the vector that travels beside the gradients."""

    LOSS, TARGETS, SAMPLES, STOP = range(4)
    WIDTH = 4


@contextmanager
def _training_only(run: PhaseRun, phases: Sequence[PhaseRun]) -> Iterator[None]:
    """Let only a phase's own parameters have gradients: those of the others would count as theirs, and be reduced."""
    others = [p for other in phases if other is not run for p in other.parameters]
    for p in others:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in others:
            p.requires_grad_(True)
