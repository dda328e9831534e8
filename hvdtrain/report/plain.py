"""Plain aligned lines, for output that is no terminal: what rank 0 writes under bare horovodrun, or into a log."""

from __future__ import annotations

import sys
from typing import TextIO

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
from hvdtrain.report import format as fmt
from hvdtrain.report.history import History, apart, metric_names
from hvdtrain.report.summary import plain_summary

_COLUMNS = ("step", "loss", "lr", "tokens/s", "a worker", "step time", "data", "compute", "comm.", "left")
_WIDTHS = (11, 9, 9, 10, 9, 9, 6, 7, 6, 9)
_HEADER_EVERY = 25


class PlainReporter:
    """A subscriber that writes one line for each thing that happened, ASCII only, without control characters."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._history = History()
        self._lines_since_header = _HEADER_EVERY

    def __call__(self, record: Record) -> None:
        self._history(record)
        if isinstance(record, StepRecord):
            self._write_step(record)
        elif isinstance(record, StartRecord):
            self._write(*start_lines(record))
        elif isinstance(record, EndRecord):
            self._write("", plain_summary(self._history))
        else:
            self._write(*_happening(record))

    def message(self, text: str, rank: int | None = None) -> None:
        """Write a line that a worker, or the launcher, wrote."""
        self._write(fmt.clean(text) if rank is None else f"worker {rank} | {fmt.clean(text)}")

    def notice(self, text: str) -> None:
        """Write what is going on."""
        self._write(text)

    def close(self) -> None:
        """Nothing is held: each line was flushed."""

    def _write_step(self, record: StepRecord) -> None:
        if self._lines_since_header >= _HEADER_EVERY:
            self._lines_since_header = 0
            self._write(_row(tuple(f"{self._history.unit}/s" if name == "tokens/s" else name for name in _COLUMNS)))
        self._lines_since_header += 1
        self._write(_row(_cells(record, self._history)))

    def _write(self, *lines: str) -> None:
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        for line in lines:
            # A log in an old encoding loses a letter of the sample rather than the run.
            self._stream.write(line.encode(encoding, "replace").decode(encoding) + "\n")
        self._stream.flush()


def start_lines(record: StartRecord) -> list[str]:
    """Return what a reader has to know of a run before its first step, as lines."""
    where = "" if record.hosts == 1 else f" on {record.hosts} hosts"
    workers = fmt.plural(record.world_size - record.servers, "worker")
    servers = f" and {fmt.plural(record.servers, 'server')}" if record.servers else ""
    threads = fmt.plural(record.threads_per_worker, "thread")
    reason = f" ({record.precision_reason})" if record.precision_reason else ""
    engine = f"; engine: {fmt.engine(record.engine)}" if record.engine else ""
    targets = f"{record.train_targets:,} {record.unit} to train on, {record.val_targets:,} to validate"
    lines = [
        f"{record.name}: {workers}{servers}{where}, {record.device}, {threads} a worker, {record.precision}{reason}",
        f"  model: {fmt.quantity(record.parameters)} parameters; data: {targets}",
        f"  batch: {record.global_batch_size} = {record.micro_batch_size} x {workers}"
        f" x {record.gradient_accumulation_steps} accumulated; {fmt.plural(record.total_steps, 'step')}",
        f"  learning rate: {record.learning_rate_rule or format(record.learning_rate, 'g')}",
        f"  synchronisation: {apart(record) or record.sync}{engine}",
    ]
    if record.resumed_from:
        lines.append(f"  resumed at step {record.step} from {record.resumed_from}")
    lines += [f"  note: {fmt.clean(note)}" for note in record.notes]
    return [*lines, f"  files: {record.output_dir}"]


def _row(cells: tuple[str, ...]) -> str:
    return " ".join(cell.rjust(width) for cell, width in zip(cells, _WIDTHS, strict=True)).rstrip()


def _cells(record: StepRecord, history: History) -> tuple[str, ...]:
    total = history.start.total_steps if history.start else None
    shares = fmt.group_shares(record.seconds)
    return (
        str(record.step) if total is None else f"{record.step}/{total}",
        fmt.loss(record.loss),
        fmt.learning_rate(record.lr),
        fmt.rate(record.tokens_per_second),
        fmt.rate(record.tokens_per_second / max(1, record.world_size - record.servers)),
        fmt.seconds(record.seconds["step"]) if "step" in record.seconds else "-",
        *(fmt.percent(shares.get(group)) for group in ("data", "compute", "communication")),
        fmt.duration(history.seconds_left()),
    )


def _happening(record: Record) -> list[str]:
    if isinstance(record, EvalRecord):
        values = ", ".join(f"{name} {fmt.metric(value)}" for name, value in metric_names(record.metrics))
        took = f"{record.samples:,} samples in {fmt.seconds(record.seconds)}"
        return [f"validation at step {record.step}: {values} ({took})"]
    if isinstance(record, SampleRecord):
        text = fmt.excerpt(record.prompt + record.text) or f"{record.image}"
        return [f"sample at step {record.step}:", *(f"  | {line}" for line in text.split("\n"))]
    if isinstance(record, CheckpointRecord):
        took = f"{fmt.size(record.bytes)} in {fmt.seconds(record.seconds)}"
        return [f"checkpoint at step {record.step}: {record.path} ({took})"]
    if isinstance(record, ResizeRecord):
        return [f"resized at step {record.step}: from {fmt.plural(record.before, 'worker')} to {record.after}"]
    if isinstance(record, ProblemRecord):
        return [f"warning: {fmt.clean(record.problem)}: {fmt.clean(record.action)}"]
    return []
