"""The files of a run: written record by record while it goes on, and read back however it ended."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from hvdtrain.errors import RunError, SetupError
from hvdtrain.metrics.lines import dumps, loads
from hvdtrain.metrics.records import EndRecord, ProblemRecord, Record, ResizeRecord, SampleRecord, StartRecord
from hvdtrain.report.history import History
from hvdtrain.report.run_report import write_drawn, write_texts
from hvdtrain.report.writing import to_json, write_whole

METRICS = "metrics.jsonl"


class FileReporter:
    """A subscriber that keeps `metrics.jsonl`, `samples/`, and at the end `report.{json,md,html,png}`.

    A resumed run goes on with the `metrics.jsonl` that is there; a new one in the same directory sets the old one aside
    as `metrics.1.jsonl`. Nothing that a run left is overwritten but its reports. What is drawn, unless `plots` is
    false, is made when the reporter is closed, after all that a person waits for; `note` is told what could not be.

    Raises:
        SetupError: the directory can't be made or written; nothing in it was changed.
        RunError: when called, a file can't be written: the disk is full, say.
    """

    def __init__(
        self,
        output_dir: Path | str,
        *,
        recipe_yaml: str,
        environment: Mapping[str, Any] | None = None,
        note: Callable[[str], None] | None = None,
        plots: bool = True,
    ) -> None:
        self._dir = Path(output_dir)
        self._note = note or (lambda text: None)
        self._plots = plots
        self._recipe_yaml = recipe_yaml
        self._environment = dict(environment or {})
        self._history = History()
        self._metrics: int | None = None
        try:
            self._dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SetupError(f"can't make output_dir = {self._dir}: {error.strerror}; choose another one") from error
        if not os.access(self._dir, os.W_OK | os.X_OK):
            raise SetupError(f"can't write to output_dir = {self._dir}: choose another one, or change its permissions")

    def __call__(self, record: Record) -> None:
        try:
            self._write(record)
        except OSError as error:
            raise RunError(f"can't write the run's files in {self._dir}: {error.strerror}") from error

    def close(self) -> None:
        """Close the files. A run that failed gets its report from what there is."""
        if self._metrics is None:
            return
        os.close(self._metrics)
        self._metrics = None
        if self._history.end is None:
            write_texts(self._dir, self._history)
        notes = write_drawn(self._dir, self._history, self._plots)
        with suppress(OSError):  # Nobody may be there any more to read it.
            for note in notes:
                self._note(note)

    def _write(self, record: Record) -> None:
        if isinstance(record, StartRecord):
            self._open(fresh=record.resumed_from is None)
        self._history(record)
        if self._metrics is not None:
            os.write(self._metrics, (dumps(record) + "\n").encode())
        if isinstance(record, SampleRecord):
            self._write_sample(record)
        elif isinstance(record, EndRecord):
            write_texts(self._dir, self._history)

    def _open(self, *, fresh: bool) -> None:
        path = self._dir / METRICS
        if self._metrics is not None:  # an elastic run begins anew with other workers
            os.close(self._metrics)
            self._metrics, self._history = None, History()
        if fresh and path.exists() and path.stat().st_size:
            path.rename(_free_name(path))
        if not fresh:
            for record in read_records(path):
                self._history(record)
        write_whole(self._dir / "recipe.yaml", self._recipe_yaml)
        write_whole(self._dir / "environment.json", to_json(self._environment))
        # Unbuffered and in append mode: each record is one write that reaches the file at once, whatever happens next.
        self._metrics = os.open(path, os.O_CREAT | os.O_APPEND | os.O_RDWR, 0o644)
        size = os.fstat(self._metrics).st_size
        if size and os.pread(self._metrics, 1, size - 1) != b"\n":
            os.write(self._metrics, b"\n")  # A killed run tore its last line: it must not spoil the next one.

    def _write_sample(self, record: SampleRecord) -> None:
        if not record.prompt + record.text:
            return
        directory = self._dir / "samples"
        directory.mkdir(exist_ok=True)
        write_whole(directory / f"step-{record.step}.txt", record.prompt + record.text + "\n")


def read_records(path: Path) -> list[Record]:
    """Return the records of a `metrics.jsonl` as one run: what a resume went back behind is left out.

    A line that is torn, or of a kind that this version does not know, is left out too. No file, no records.
    """
    records: list[Record] = []
    if not path.exists():
        return records
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                record = loads(line)
            except ValueError:
                continue
            if isinstance(record, StartRecord | ProblemRecord):
                records = [one for one in records if _stays(one, record.step)]
            records.append(record)
    return records


def _stays(record: Record, step: int) -> bool:
    """Whether a record of before still holds for a run that goes on from a step; what befell the run stays so."""
    if isinstance(record, ResizeRecord | ProblemRecord):
        return True
    return record.step <= step and not isinstance(record, EndRecord)


def read_history(output_dir: Path) -> History:
    """Return the state of the run whose files are in a directory."""
    history = History(output_dir)
    for record in read_records(output_dir / METRICS):
        history(record)
    return history


def _free_name(path: Path) -> Path:
    number = 1
    while (free := path.with_name(f"{path.stem}.{number}{path.suffix}")).exists():
        number += 1
    return free
