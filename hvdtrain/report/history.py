"""What the records so far say, in bounded memory: the state behind every view and summary of a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hvdtrain.metrics.records import (
    CheckpointRecord,
    EndRecord,
    EvalRecord,
    ProblemRecord,
    Record,
    ResizeRecord,
    SampleRecord,
    StartRecord,
    StepRecord,
)

MAX_POINTS = 2048
MAX_PROBLEMS = 50


class History:
    """A subscriber that keeps the last record of each kind, the logged steps for curves, and the pace of the steps.

    `curve` holds every logged step of a run, and evenly chosen ones of a very long run. `directory` is where the run's
    files are: where they were read, or else where the run wrote them.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory
        self.start: StartRecord | None = None
        self.first_step: StepRecord | None = None
        self.step: StepRecord | None = None
        self.eval: EvalRecord | None = None
        self.best: EvalRecord | None = None
        self.sample: SampleRecord | None = None
        self.checkpoint: CheckpointRecord | None = None
        self.resizes: list[ResizeRecord] = []
        self.problem: ProblemRecord | None = None
        self.end: EndRecord | None = None
        self.problems: list[ProblemRecord] = []
        self.evals: list[EvalRecord] = []
        self.curve: list[StepRecord] = []
        self._stride, self._skipped = 1, 0

    def __call__(self, record: Record) -> None:
        if isinstance(record, StartRecord):
            self.start, self.first_step = record, None
            self._forget_after(record.step)
        elif isinstance(record, StepRecord):
            self._add_step(record)
        elif isinstance(record, EvalRecord):
            self._add_eval(record)
        elif isinstance(record, SampleRecord):
            self.sample = record
        elif isinstance(record, CheckpointRecord):
            self.checkpoint = record
        elif isinstance(record, ResizeRecord):
            self.resizes = [*self.resizes[-MAX_PROBLEMS:], record]
        elif isinstance(record, ProblemRecord):
            self.problem = record
            self._forget_after(record.step)
            # The first and the newest tell most of a run that has more than anybody reads.
            self.problems = [*self.problems[:MAX_PROBLEMS], record]
        elif isinstance(record, EndRecord):
            self.end = record

    def close(self) -> None:
        """Nothing is held."""

    @property
    def directory(self) -> Path:
        return self._directory or Path(self.start.output_dir if self.start else "")

    @property
    def objective(self) -> tuple[str, str]:
        """The metric by which evaluations are compared, and whether its "min" or "max" is best."""
        return self.start.objective if self.start else ("loss", "min")

    @property
    def unit(self) -> str:
        """What is counted: "tokens" or "samples"."""
        return self.start.unit if self.start else "tokens"

    @property
    def apart(self) -> str:
        """What every report says of a run whose workers do not synchronise; nothing of other runs."""
        return apart(self.start) if self.start else ""

    @property
    def resize(self) -> ResizeRecord | None:
        """The newest change of the number of workers."""
        return self.resizes[-1] if self.resizes else None

    @property
    def losses(self) -> list[float]:
        """The losses of the curve."""
        return [record.loss for record in self.curve]

    @property
    def world_size(self) -> int:
        """The number of workers, as the newest record has it."""
        newest = self.end or self.step
        return newest.world_size if newest else self.start.world_size if self.start else 1

    @property
    def steps_done(self) -> int:
        """Updates done, those before a resume included."""
        return max(record.step for record in (self.start, self.step, self.end) if record) if self.start else 0

    def seconds_left(self) -> float | None:
        """Return the seconds that the steps to come take at this session's pace, its evaluations included."""
        if self.start is None or self.step is None:
            return None
        first, last = self.first_step or self.step, self.step
        if last.step > first.step and last.elapsed > first.elapsed:
            pace = (last.elapsed - first.elapsed) / (last.step - first.step)
        else:
            pace = last.seconds.get("step", 0.0)
        return max(0, self.start.total_steps - last.step) * pace if pace > 0 else None

    def _add_step(self, record: StepRecord) -> None:
        self.first_step = self.first_step or record
        self.step = record
        self._skipped += 1
        if self._skipped >= self._stride:
            self._skipped = 0
            self.curve.append(record)
        if len(self.curve) > MAX_POINTS:
            # Halved rather than cut: the curve keeps its beginning however long the run is.
            self.curve = self.curve[::2]
            self._stride *= 2

    def _forget_after(self, step: int) -> None:
        """A rollback has undone what came after a step."""
        self.curve = [one for one in self.curve if one.step <= step]
        evals, self.evals, self.best, self.eval = self.evals, [], None, None
        for one in evals:
            if one.step <= step:
                self._add_eval(one)

    def _add_eval(self, record: EvalRecord) -> None:
        self.eval = record
        self.evals.append(record)
        name, mode = self.objective
        value = record.metrics.get(name)
        best = self.best.metrics.get(name) if self.best else None
        if value is None or value != value:
            return
        if best is None or (value < best if mode == "min" else value > best):
            self.best = record


def apart(start: StartRecord) -> str:
    """Return what a reader must know of several workers that do not synchronise; nothing of others."""
    if start.sync != "none" or start.world_size == 1:
        return ""
    return (
        f"not synchronised: {start.world_size:,} separate models, losses are their mean; checkpoints and samples are "
        "worker 0's"
    )


_NAMES = {
    "loss": "loss",
    "perplexity": "perplexity",
    "bits_per_byte": "bits/byte",
    "bits_per_character": "bits/character",
    "accuracy": "accuracy",
    "f1": "F1",
    "auc": "AUC",
    "r2": "R2",
    "rmse": "RMSE",
    "mae": "MAE",
    "bleu": "BLEU",
    "chrf": "chrF",
    "inception_score": "inception-style score",
    "inception_score_real": "inception-style score of real images",
    "frechet_distance": "Frechet distance",
    "frechet_distance_real": "Frechet distance of real images",
}


def ordered(metrics: Mapping[str, float]) -> list[str]:
    """Return the metrics' keys, the well-known first."""
    return [key for key in _NAMES if key in metrics] + [key for key in metrics if key not in _NAMES]


def metric_names(metrics: Mapping[str, float]) -> list[tuple[str, float]]:
    """Return metrics with the names that people use, in the order of `ordered`."""
    return [(_NAMES.get(key, key.replace("_", " ")), metrics[key]) for key in ordered(metrics)]
