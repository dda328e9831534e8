"""A run from its first record to its last: updates, and between them evaluations, samples and checkpoints."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hvdtrain import world as worlds
from hvdtrain.errors import DivergedError, NonFiniteError, RecipeError
from hvdtrain.metrics.records import (
    CheckpointRecord,
    EvalRecord,
    Record,
    ResizeRecord,
    SampleRecord,
    StartRecord,
    StepRecord,
)
from hvdtrain.sync._config import SyncConfig
from hvdtrain.train import device as devices
from hvdtrain.train import state
from hvdtrain.train.checkpoint import Checkpoints, NoCheckpoints
from hvdtrain.train.evaluation import evaluate
from hvdtrain.train.objective import Objective
from hvdtrain.train.resume import Origin, resume, run_identity
from hvdtrain.train.samples import NoSamples, Samples
from hvdtrain.train.summary import summarize
from hvdtrain.train.window import Counts, Window

if TYPE_CHECKING:
    from hvdtrain.train.assemble import Assembly
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
    ) -> None:
        self._assembly = assembly
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

    def begin(self, resume_from: str) -> None:
        """Put the run into its first state: new, or that of a checkpoint ("auto", "never" or a path).

        Raises:
            CheckpointError: the checkpoint is missing, damaged or of another run.
        """
        self._origin = resume(self._assembly, self._world, resume_from)
        self._objective.load_state_dict(self._origin.objective)
        self._last_checkpoint = self._origin.checkpoint
        self._window.counts = self._origin.counts

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
        yield self._start_record(self._origin)
        before = self._origin.world_size
        if before is not None and before != self._world.size:
            yield ResizeRecord(step=self._loop.step, before=before, after=self._world.size)
        began, reason = time.perf_counter(), "finished"
        self._window.open()
        try:
            for update in self._loop.updates():
                self._window.add(update)
                ended = yield from self._between_updates(update.stop)
                if ended:
                    reason = ended
                    break
        except (NonFiniteError, DivergedError) as error:
            told = type(error)(f"{error}; the last good checkpoint: {self._last_good()}")
            told.shared = error.shared
            raise told from error
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
            return ""
        self._loop.stopwatch.pause()
        if logs:
            record, stop_asked = self._window.close()
            self._steps.append(record)
            yield record
        if evaluates or saves or stop_asked:
            yield from self._evaluate_and_save(evaluates, saves or stop_asked)
        if last:
            return "finished"
        if stop_asked:
            return "stopped"
        if not self._objective.exhausted:
            return ""
        if not logs:
            record, _ = self._window.close()
            self._steps.append(record)
            yield record
        return "converged"

    def _evaluate_and_save(self, evaluates: bool, saves: bool) -> Iterator[Record]:
        began = time.perf_counter()
        self._loop.check_weights()
        state.average_buffers(self._loop.model, self._world, self._loop.training_workers)
        best = False
        with self._loop.agreed():
            self._loop.check_replicas()
            if evaluates:
                best = yield from self._evaluate()
            if saves or (best and self._config.keep_best) or self._objective.exhausted:
                yield from self._save(best)
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
        self._check_objective(record)
        best = self._assembly.data.may_choose and self._objective.see(loop.step, record.metrics)
        self._last_eval = replace(record, best=best)
        yield self._last_eval
        yield from self._sample()
        return best

    def _check_objective(self, record: EvalRecord) -> None:
        """Make sure that what the recipe wants to be followed is there; every worker has the same metrics."""
        config = self._config
        wanted = "train.objective" if config.objective else "train.early_stopping" if config.early_stopping else ""
        if wanted and self._objective.metric not in record.metrics:
            raise RecipeError(
                f"{wanted}: follows the metric '{self._objective.metric}', which evaluations of this run do not give "
                f"(they give {', '.join(record.metrics)})"
            )

    def _sample(self) -> Iterator[SampleRecord]:
        """Every worker makes the same from the same weights, so nobody has to know who reports."""
        from hvdtrain.train.generation import generate

        task, seed = self._loop.task, self._assembly.recipe.seed
        shown = task.show(self._loop.model, self._assembly.data.val, seed)
        if shown is not None:
            yield self._samples.keep(shown, self._loop.step)
        request = task.sample_request()
        if request is None:
            return
        pieces = generate(
            self._loop.model,
            self._loop.encoder.tokenizer,  # type: ignore[arg-type]
            request.prompt,
            max_new_tokens=request.max_new_tokens,
            temperature=request.temperature,
            top_k=request.top_k,
            seed=seed,
            device=self._loop.device,
        )
        yield SampleRecord(step=self._loop.step, prompt=request.prompt, text="".join(pieces))

    def _save(self, best: bool) -> Iterator[CheckpointRecord]:
        """Save; every worker takes part in taking the snapshot, and one writes it."""
        extra = {
            "identity": run_identity(self._assembly),
            "targets": self._window.counts.targets,
            "objective": self._objective.state_dict(),
        }
        marked = self._objective.facts() if best and self._config.keep_best else None
        record = self._checkpoints.save(state.take(self._loop, extra), marked)
        if record is not None:
            self._last_checkpoint = record.path
            yield record

    def _start_record(self, origin: Origin) -> StartRecord:
        assembly, loop, recipe = self._assembly, self._loop, self._assembly.recipe
        return StartRecord(
            step=loop.step,
            name=recipe.name,
            output_dir=str(recipe.output_dir),
            world_size=self._world.size,
            servers=loop.servers,
            hosts=len(set(worlds.hosts(self._world))),
            device=devices.describe(loop.device),
            threads_per_worker=assembly.threads,
            precision=loop.precision.name,
            precision_reason=loop.precision.reason,
            total_steps=loop.total_steps,
            global_batch_size=assembly.batch.global_batch_size,
            micro_batch_size=assembly.batch.micro_batch_size,
            gradient_accumulation_steps=assembly.batch.passes,
            learning_rate=loop.schedule.peak,
            learning_rate_rule=loop.schedule.rule,
            parameters=assembly.parameters,
            flops_per_token=assembly.flops_per_token,
            train_targets=assembly.data.train.targets,
            val_targets=assembly.data.val.targets,
            unit=loop.task.unit,
            loss_unit=loop.task.loss_unit,
            objective=self._followed,
            references=loop.task.references(assembly.data, "val"),
            sync=recipe.sync.name if self._world.size > 1 else "none",
            engine=self._engine,
            resumed_from=origin.checkpoint,
            notes=(*self._workers_notes(), *assembly.data.notes, *origin.notes),
        )

    def _workers_notes(self) -> tuple[str, ...]:
        sync, hosts = self._assembly.recipe.sync, worlds.hosts(self._world)
        own = sync.notes(hosts) if isinstance(sync, SyncConfig) and len(hosts) > 1 else ()
        return (*own, *devices.crowding(self._assembly.threads, self._world))


def make_checkpoints(assembly: Assembly, world: World) -> Checkpoints | NoCheckpoints:
    """Return the writer of checkpoints on the worker that reports, and its peer that writes nothing on the others."""
    if world.rank != 0:
        return NoCheckpoints()
    from hvdtrain.recipe import dump

    recipe, tokenizer = assembly.recipe, assembly.data.encoder.tokenizer
    return Checkpoints(
        Path(recipe.output_dir) / "checkpoints",
        recipe=dump(recipe),
        save_tokenizer=tokenizer.save if tokenizer is not None else None,
        keep_last=recipe.train.keep_last,
    )


def make_samples(assembly: Assembly, world: World) -> Samples | NoSamples:
    """Return the writer of samples on the worker that reports, and its peer on the others."""
    return Samples(Path(assembly.recipe.output_dir) / "samples") if world.rank == 0 else NoSamples()


def _due(step: int, interval: int) -> bool:
    return interval > 0 and step % interval == 0
