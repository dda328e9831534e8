"""A run from its first record to its last: updates, and between them evaluations, samples and checkpoints."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hvdtrain.errors import DivergedError, NonFiniteError, RunError, shared
from hvdtrain.metrics import activity
from hvdtrain.metrics.records import EvalRecord, ProblemRecord, Record, ResizeRecord
from hvdtrain.train import state
from hvdtrain.train.beginning import start_record
from hvdtrain.train.evaluation import validate
from hvdtrain.train.objective import Objective
from hvdtrain.train.output import has_ended
from hvdtrain.train.resume import Origin, resume, run_identity, take_up
from hvdtrain.train.rollbacks import Rollbacks
from hvdtrain.train.samples import NoSamples, Samples, show
from hvdtrain.train.saving import Checkpoints, NoCheckpoints
from hvdtrain.train.summary import Logged, summarize
from hvdtrain.train.window import Counts, Window
from hvdtrain.world import on_first

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
        self._rollbacks = Rollbacks(assembly, world)
        self._owes_evaluation = False
        self._has_ended = False
        self._last_eval: EvalRecord | None = None
        self._logged = Logged()

    def begin(self, resume_from: str) -> None:
        """Put the run into its first state: that of the workers' newest commit, if they have one; or else new, or that
        of a checkpoint ("auto", "never" or a path).

        Raises:
            CheckpointError: the checkpoint is missing, damaged or of another run.
        """
        world, output = self._world, Path(self._assembly.recipe.output_dir)
        committed = self._commits.newest(world) if self._commits else None
        if committed is not None:
            owner, snapshot = committed
            self._origin = take_up(self._assembly, world, snapshot, f"the commit of worker {owner}")
            self._rollbacks.look_up()
        else:
            self._origin = resume(self._assembly, world, resume_from)
            self._rollbacks.checkpoint = self._origin.checkpoint
            # Of a checkpoint that was named, which may be another run's, the end is not looked for.
            self._has_ended = resume_from != "auto" or on_first(world, lambda: has_ended(output, self._loop.step))
        self._objective.load_state_dict(self._origin.objective)
        self._owes_evaluation = self._origin.owes_evaluation
        self._rollbacks.count = self._origin.rollbacks
        self._window.counts = self._origin.counts

    @property
    def step(self) -> int:
        """Updates done."""
        return self._loop.step

    @property
    def over(self) -> bool:
        """Whether nothing is left to do, the end's records included."""
        return self._has_ended and self.ending != ""

    @property
    def progress(self) -> str:
        """How far the run has come."""
        return f"{self._loop.step} of {self._loop.total_steps} steps, {self._rollbacks.checkpoint or 'no checkpoint'}"

    @property
    def ending(self) -> str:
        """Why there are no more updates to do; nothing where there are."""
        if self._loop.step >= self._loop.total_steps:
            return "finished"
        return "converged" if self._objective.exhausted else ""

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
                yield self._roll_back(error)
            except DivergedError as error:
                raise self._rollbacks.told(error) from error
        elapsed = time.perf_counter() - began
        yield summarize(
            self._assembly,
            self._logged,
            reason=reason,
            metrics=self._last_eval.metrics if self._last_eval else {},
            checkpoint=self._rollbacks.checkpoint,
            best=self._checkpoints.best,
            elapsed=elapsed,
            counts=self._window.counts,
        )

    def _train(self) -> Generator[Record, None, str]:
        """Do updates, and what is due between them; return why the run ends."""
        ended = yield from self._catch_up()
        if ended:
            return ended
        for update in self._loop.updates():
            self._window.add(update)
            ended = yield from self._between_updates(update.stop)
            if ended:
                return ended
        return "finished"

    def _catch_up(self) -> Generator[Record, None, str]:
        """Do what was still due where the run was broken off; return why it ends here, or nothing."""
        owed, self._owes_evaluation = self._owes_evaluation, False
        saved: bool = on_first(self._world, self._rollbacks.is_saved)
        unsaved = self.ending != "" and not saved
        if owed or unsaved:
            yield from self._evaluate_and_save(owed, unsaved, last=unsaved, saved=saved)
        return self.ending

    def _roll_back(self, error: NonFiniteError) -> ProblemRecord:
        """Go back to the newest checkpoint; raise the error where that may not be."""
        record, kept = self._rollbacks.go_back(error)
        self._objective.load_state_dict(kept.get("objective", {}))
        self._owes_evaluation = kept["owes_evaluation"]
        self._window.restart()
        if self._commits is not None:
            self._commits.turn()
            self._keep()
        return record

    def _between_updates(self, stop_asked: bool) -> Generator[Record, None, str]:
        """Do what is due after an update; return why the run ends here, or nothing."""
        step, config = self._loop.step, self._config
        last = step == self._loop.total_steps
        logs = last or stop_asked or _due(step, config.log_interval)
        due = config.eval_interval > 0 and (last or _due(step, config.eval_interval))
        # There is no time for it where a cluster has asked: the run that goes on does it first.
        evaluates, self._owes_evaluation = due and (last or not stop_asked), due and stop_asked and not last
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
        self._logged.add(record)
        for step, why in skipped:
            yield ProblemRecord(step=step, problem=why, action="its batch was skipped")
        yield record
        return stop_asked

    def _evaluate_and_save(self, evaluates: bool, saves: bool, *, last: bool, saved: bool = False) -> Iterator[Record]:
        """Do both or either; where this step is `saved` already, it is only marked if it is the best."""
        began = time.perf_counter()
        self._loop.check_weights()
        best = False
        with self._loop.agreed():
            self._loop.check_replicas()
            if evaluates:
                best = yield from self._evaluate()
            last = last or self._objective.exhausted
            if saves or last or (best and self._config.keep_best):
                yield from self._save(best, last=last, only_marks=saved and not (saves or last))
        # The next step begins together, so that no worker's wait for this one's disk counts as its imbalance.
        self._world.gather(None)
        self._window.leave_out(time.perf_counter() - began)

    def _evaluate(self) -> Generator[Record, None, bool]:
        """Evaluate, and return whether no evaluation was better before."""
        record = validate(self._assembly)
        self._objective.check(record.metrics, self._config)
        best = self._assembly.data.may_choose and self._objective.see(record.step, record.metrics)
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
        with self._loop.agreed():
            self._commits.keep(self._snapshot())

    def _snapshot(self) -> Snapshot:
        """Return the run's state, in the context of `agreed`; all workers take it together."""
        extra = {
            "identity": run_identity(self._assembly),
            "targets": self._window.total().targets,
            "objective": self._objective.state_dict(),
            "rollbacks": self._rollbacks.count,
            "owes_evaluation": self._owes_evaluation,
        }
        return state.take(self._loop, extra)

    def _save(self, best: bool, *, last: bool, only_marks: bool) -> Iterator[Record]:
        """Save; every worker takes part in taking the snapshot, and one writes it."""
        marked = self._objective.facts() if best and self._config.keep_best else None
        activity.begin("saving a checkpoint")
        snapshot = None if only_marks else self._snapshot()
        if self._commits is not None and snapshot is not None:
            self._commits.keep(snapshot)
        record = problem = None
        try:
            if snapshot is None:
                self._checkpoints.begin(self._loop.step, marked)
            else:
                record = self._checkpoints.save(snapshot, marked)
        except RunError as error:
            problem = str(error)
        if problem := self._world.gather(problem)[0]:
            if last or self._config.on_save_error == "stop":
                raise shared(RunError(problem))
            yield ProblemRecord(step=self._loop.step, problem=problem, action="the run goes on without it")
        if record is not None:
            self._rollbacks.checkpoint = record.path
            yield record


def _due(step: int, interval: int) -> bool:
    return interval > 0 and step % interval == 0
