"""A run from its first record to its last: updates, and between them evaluations, samples and checkpoints."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hvdtrain.errors import DivergedError, NonFiniteError, RunError, shared
from hvdtrain.metrics import activity
from hvdtrain.metrics.records import (
    EvalRecord,
    ProblemRecord,
    Record,
    ResizeRecord,
    StepRecord,
)
from hvdtrain.train import state
from hvdtrain.train.beginning import start_record
from hvdtrain.train.evaluation import evaluate
from hvdtrain.train.objective import Objective
from hvdtrain.train.resume import Origin, resume, roll_back, run_identity, take_up
from hvdtrain.train.samples import NoSamples, Samples, show
from hvdtrain.train.saving import Checkpoints, NoCheckpoints
from hvdtrain.train.summary import summarize
from hvdtrain.train.window import Counts, Window

if TYPE_CHECKING:
    from hvdtrain.train.assemble import Assembly
    from hvdtrain.train.checkpoint import Snapshot
    from hvdtrain.train.elastic import Commits
    from hvdtrain.world import World


class Run:
    """A run on one worker. `records()` does the work; whoever wants to know subscribes to what it yields."""

    def __init__(
        self,
        assembly: Assembly,
        world: World,
        checkpoints: Checkpoints | NoCheckpoints,
        samples: Samples | NoSamples,
        engine: Mapping[str, str],
        commits: Commits | None = None,
    ) -> None:
        """`commits` keeps the state in memory for when workers come or go."""
        self._assembly = assembly
        self._commits = commits
        self._loop = assembly.loop
        self._config = assembly.recipe.train
        self._world = world
        self._checkpoints = checkpoints
        self._samples = samples
        own, wanted = self._loop.task.objective, self._config.objective
        self._followed = (wanted.metric, wanted.mode) if wanted else own
        self._objective = Objective(*self._followed, self._config.early_stopping)
        self._engine = engine
        self._window = Window(world, self._loop)
        self._origin = Origin(None, None, Counts(), ())
        self._last_checkpoint: str | None = None
        self._last_eval: EvalRecord | None = None
        self._steps: list[StepRecord] = []
        self._rollbacks = 0

    def begin(self, resume_from: str) -> None:
        """Put the run into its first state: that of the workers' newest commit, if they have one; or else new, or that
        of a checkpoint ("auto", "never" or a path).

        Raises:
            CheckpointError: the checkpoint is missing, damaged or of another run.
        """
        committed = self._commits.newest(self._world) if self._commits else None
        if committed is not None:
            owner, snapshot = committed
            self._origin = take_up(self._assembly, self._world, snapshot, f"the commit of worker {owner}")
        else:
            self._origin = resume(self._assembly, self._world, resume_from)
        self._objective.load_state_dict(self._origin.objective)
        self._last_checkpoint = self._origin.checkpoint
        self._window.counts = self._origin.counts

    @property
    def step(self) -> int:
        """Updates done."""
        return self._loop.step

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return self._loop.step >= self._loop.total_steps or self._objective.exhausted

    @property
    def progress(self) -> str:
        """How far the run has come."""
        return f"{self._loop.step} of {self._loop.total_steps} steps, {self._last_checkpoint or 'no checkpoint'}"

    def records(self) -> Iterator[Record]:
        """Run to the end, or to the step at which a worker was asked to stop.

        Raises:
            NonFiniteError: a loss or gradient is not finite; names the step, the worker and the last checkpoint.
            DivergedError: the workers' models are no longer alike.
            LostWorkerError: another worker ended.
        """
        self._loop.interrupt.begin()
        self._checkpoints.begin(self._loop.step, self._objective.facts() if self._config.keep_best else None)
        yield start_record(self._assembly, self._origin, self._engine, self._followed)
        before = self._origin.world_size
        if before is not None and before != self._world.size:
            yield ResizeRecord(step=self._loop.step, before=before, after=self._world.size)
        began, reason = time.perf_counter(), ""
        self._window.open()
        if self._commits is not None:
            self._keep()
        while not reason:
            try:
                reason = yield from self._train()
            except NonFiniteError as error:
                if not self._may_roll_back(error):
                    raise self._told(error) from error
                yield self._roll_back(error)
            except DivergedError as error:
                raise self._told(error) from error
        elapsed = time.perf_counter() - began
        yield summarize(
            self._assembly,
            self._steps,
            reason=reason,
            metrics=self._last_eval.metrics if self._last_eval else {},
            checkpoint=self._last_checkpoint,
            best=self._checkpoints.best,
            elapsed=elapsed,
            counts=self._window.counts,
        )

    def _train(self) -> Generator[Record, None, str]:
        """Do updates, and what is due between them; return why the run ends."""
        for update in self._loop.updates():
            self._window.add(update)
            ended = yield from self._between_updates(update.stop)
            if ended:
                return ended
        return "finished"

    def _may_roll_back(self, error: NonFiniteError) -> bool:
        """Whether the recipe wants a rollback, all workers are at the same point, and some are left."""
        config = self._config
        return config.on_nonfinite == "rollback" and error.shared and self._rollbacks < config.nonfinite_limit

    def _roll_back(self, error: NonFiniteError) -> ProblemRecord:
        """Go back to the newest checkpoint, and on with the samples that come now; raise the error without one."""
        at = self._loop.step
        self._rollbacks += 1
        objective = roll_back(self._assembly, self._world)
        if objective is None:
            raise self._told(error) from error
        self._objective.load_state_dict(objective)
        self._window.restart()
        if self._commits is not None:
            self._commits.turn()
            self._keep()
        action = (
            f"back from step {at} to {self._loop.step}, and on with other samples "
            f"(rollback {self._rollbacks} of at most {self._config.nonfinite_limit})"
        )
        return ProblemRecord(step=self._loop.step, problem=str(error), action=action)

    def _told(self, error: RunError) -> RunError:
        """Return the error with what a person can go on from."""
        told = type(error)(f"{error}; the last good checkpoint: {self._last_good()}")
        return shared(told) if error.shared else told

    def _last_good(self) -> str:
        """Name the newest checkpoint; only worker 0 knows which were written."""
        if self._world.rank != 0:
            return f"the newest in {Path(self._assembly.recipe.output_dir) / 'checkpoints'}"
        return self._last_checkpoint or "none was saved"

    def _between_updates(self, stop_asked: bool) -> Generator[Record, None, str]:
        """Do what is due after an update; return why the run ends here, or nothing."""
        step, config = self._loop.step, self._config
        last = step == self._loop.total_steps
        logs = last or stop_asked or _due(step, config.log_interval)
        evaluates = config.eval_interval > 0 and (last or (_due(step, config.eval_interval) and not stop_asked))
        saves = last or stop_asked or _due(step, config.save_interval)
        if not (logs or evaluates or saves):
            self._commit()
            return ""
        self._loop.stopwatch.pause()
        if logs:
            stop_asked = yield from self._log()
        if evaluates or saves or stop_asked:
            yield from self._evaluate_and_save(evaluates, saves or stop_asked, last=last or stop_asked)
        if last:
            return "finished"
        if stop_asked:
            return "stopped"
        if not self._objective.exhausted:
            self._commit()
            return ""
        if not logs:
            yield from self._log()
        return "converged"

    def _log(self) -> Generator[Record, None, bool]:
        """Yield what was since the last log; return whether any worker was asked to stop."""
        record, skipped, stop_asked = self._window.close()
        self._steps.append(record)
        for step, why in skipped:
            yield ProblemRecord(step=step, problem=why, action="its batch was skipped")
        yield record
        return stop_asked

    def _evaluate_and_save(self, evaluates: bool, saves: bool, *, last: bool) -> Iterator[Record]:
        began = time.perf_counter()
        self._loop.check_weights()
        state.average_buffers(self._loop.model, self._world, self._loop.training_workers)
        best = False
        with self._loop.agreed():
            self._loop.check_replicas()
            if evaluates:
                best = yield from self._evaluate()
            last = last or self._objective.exhausted
            if saves or (best and self._config.keep_best) or last:
                yield from self._save(best, last=last)
        # The next step begins together, so that no worker's wait for this one's disk counts as its imbalance.
        self._world.gather(None)
        self._window.leave_out(time.perf_counter() - began)

    def _evaluate(self) -> Generator[Record, None, bool]:
        """Evaluate, and return whether no evaluation was better before."""
        loop = self._loop
        record = evaluate(
            loop.model,
            loop.task,
            self._assembly.data.val,
            world=self._world,
            precision=loop.precision,
            batch_size=self._assembly.batch.micro_batch_size,
            limit=self._config.eval_samples,
            step=loop.step,
        )
        self._objective.check(record.metrics, self._config)
        best = self._assembly.data.may_choose and self._objective.see(loop.step, record.metrics)
        self._last_eval = replace(record, best=best)
        yield self._last_eval
        activity.begin("making a sample")
        yield from show(self._assembly, self._samples)
        return best

    def _commit(self) -> None:
        """Keep the state in memory, where that is due, and see whether hosts have come or gone."""
        if self._commits is None or not _due(self._loop.step, self._config.commit_interval):
            return
        self._loop.stopwatch.pause()
        self._keep()
        self._commits.check_hosts()

    def _keep(self) -> None:
        assert self._commits is not None
        state.average_buffers(self._loop.model, self._world, self._loop.training_workers)
        with self._loop.agreed():
            self._commits.keep(self._snapshot())

    def _snapshot(self) -> Snapshot:
        """Return the run's state, in the context of `agreed`; all workers take it together."""
        extra = {
            "identity": run_identity(self._assembly),
            "targets": self._window.counts.targets,
            "objective": self._objective.state_dict(),
        }
        return state.take(self._loop, extra)

    def _save(self, best: bool, *, last: bool) -> Iterator[Record]:
        """Save; every worker takes part in taking the snapshot, and one writes it."""
        marked = self._objective.facts() if best and self._config.keep_best else None
        activity.begin("saving a checkpoint")
        snapshot = self._snapshot()
        if self._commits is not None:
            self._commits.keep(snapshot)
        record = problem = None
        try:
            record = self._checkpoints.save(snapshot, marked)
        except RunError as error:
            problem = str(error)
        if problem := self._world.gather(problem)[0]:
            if last or self._config.on_save_error == "stop":
                raise shared(RunError(problem))
            yield ProblemRecord(step=self._loop.step, problem=problem, action="the run goes on without it")
        if record is not None:
            self._last_checkpoint = record.path
            yield record


def _due(step: int, interval: int) -> bool:
    return interval > 0 and step % interval == 0
