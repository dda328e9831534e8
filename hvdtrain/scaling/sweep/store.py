"""The trials of a sweep on the disk: each is there as soon as it has ended, so that a sweep can be gone on with."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hvdtrain.errors import RunError, SetupError
from hvdtrain.metrics.lines import from_dict, to_dict
from hvdtrain.metrics.records import TrialRecord
from hvdtrain.report.writing import write_whole

TRIALS, SETTINGS = "trials.jsonl", "sweep.json"


@dataclass(frozen=True)
class Trial:
    """One launch of one size: what its workers measured, by rank, or why it failed."""

    key: str
    repeat: int
    records: tuple[TrialRecord, ...] = ()
    error: str | None = None


class Store:
    """The directory of a sweep. `settings` are what its figures depend on: with others it is another sweep.

    Raises:
        SetupError: the directory holds a sweep with other settings, or can't be written.
    """

    def __init__(self, directory: Path, settings: Mapping[str, Any], *, fresh: bool = False) -> None:
        self.directory = directory
        self._path = directory / TRIALS
        try:
            if fresh:
                self._set_aside()
            directory.mkdir(parents=True, exist_ok=True)
            self._hold(settings)
        except OSError as error:
            raise SetupError(f"--output {directory}: can't be written ({error.strerror}); choose another") from error
        self.trials = self._read()

    def find(self, key: str, repeat: int) -> Trial | None:
        """Return the trial that was made and did not fail."""
        return next((t for t in self.trials if (t.key, t.repeat) == (key, repeat) and t.error is None), None)

    def forget_failures(self) -> None:
        """Let what failed be tried again."""
        self.trials = [trial for trial in self.trials if trial.error is None]

    def add(self, trial: Trial) -> None:
        """Keep a trial; it is on the disk when this returns."""
        self.trials.append(trial)
        values = {"key": trial.key, "repeat": trial.repeat, "error": trial.error}
        line = json.dumps(values | {"records": [to_dict(record) for record in trial.records]}, allow_nan=False)
        try:
            with self._path.open("a+b") as file:
                if file.tell() and not self._path.read_bytes().endswith(b"\n"):
                    file.write(b"\n")  # A kill tore the last line: it must not spoil this one.
                file.write(line.encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise RunError(f"can't keep a trial in {self._path}: {error.strerror}") from error

    def _hold(self, settings: Mapping[str, Any]) -> None:
        path = self.directory / SETTINGS
        wanted = json.loads(json.dumps(settings))
        if path.exists():
            held = _settings(path)
            different = sorted(key for key in {*held, *wanted} if held.get(key) != wanted.get(key))
            if different:
                said = ", ".join(_difference(key, held.get(key), wanted.get(key)) for key in different)
                raise SetupError(
                    f"{self.directory} holds another sweep ({said}): choose another --output, or --fresh to set it "
                    "aside and begin anew"
                )
            return
        if any(self.directory.iterdir()):
            raise SetupError(f"{self.directory} is not empty and holds no sweep; choose another --output")
        write_whole(path, json.dumps(wanted, indent=2) + "\n")

    def _set_aside(self) -> None:
        if not (self.directory / SETTINGS).exists():
            return
        number = 1
        while (aside := self.directory.with_name(f"{self.directory.name}.{number}")).exists():
            number += 1
        self.directory.rename(aside)

    def _read(self) -> list[Trial]:
        if not self._path.exists():
            return []
        found: dict[tuple[str, int], Trial] = {}
        for line in self._path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                values = json.loads(line)
                records = tuple(_trial(record) for record in values["records"])
            except (ValueError, KeyError, TypeError):
                continue  # Torn by a kill: the trial is made again.
            # What failed and was tried again counts as it went the last time.
            found[values["key"], values["repeat"]] = Trial(values["key"], values["repeat"], records, values["error"])
        return list(found.values())


def successes(trials: Sequence[Trial], key: str) -> dict[int, tuple[TrialRecord, ...]]:
    """Return the records of the launches of a size, by repeat."""
    return {trial.repeat: trial.records for trial in trials if trial.key == key and trial.error is None}


def _settings(path: Path) -> dict[str, Any]:
    try:
        held: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SetupError(f"{path} is damaged; remove it, or choose another --output") from error
    return held


def _difference(key: str, held: Any, wanted: Any) -> str:
    """Name a setting with both values where they are short enough to be read."""
    short = all(len(str(value)) < 40 for value in (held, wanted))
    return f"{key} {held}, now {wanted}" if short else f"another {key}"


def _trial(values: Mapping[str, Any]) -> TrialRecord:
    record = from_dict(values)
    if not isinstance(record, TrialRecord):
        raise ValueError("not a trial")
    return record
