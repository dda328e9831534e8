"""One short measured run under horovodrun: what is asked of its workers, and what comes back."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from hvdtrain.errors import RunError, SetupError
from hvdtrain.metrics.records import Record, TrialRecord
from hvdtrain.metrics.strategies import StrategyRecord

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hvdtrain.launch.hosts import Host

Measured = TypeVar("Measured", TrialRecord, StrategyRecord)

ENDLESS = ("train.epochs=null", "train.max_tokens=null", "train.max_steps=1000000", "train.deterministic=false")
"""Changes to a recipe that make it long enough for any trial, and as fast as its knobs say."""
HANG_SECONDS = 180
"""After which the engine gives up on workers that do not answer: without it a trial could wait for ever."""


@dataclass(frozen=True)
class Task:
    """What each worker does: warm up, then measure blocks of steps.

    A block has `steps` steps, or as many as fill `seconds` where they are short; the one beside the idle engine has
    half as many. Without `floor` training with synchronisation alone is measured; `sweep` adds plain all-reduces of
    several sizes, `gradients` the times at which backward makes the gradients.
    """

    recipe: str
    overrides: tuple[str, ...] = ()
    warmup: int = 3
    steps: int = 20
    seconds: float = 2.0
    floor: bool = True
    synthetic: bool = False
    sweep: bool = True
    gradients: bool = True


@dataclass(frozen=True)
class Place:
    """Where trials run, and through what."""

    hosts: tuple[Host, ...] = ()
    controller: str | None = None
    flags: Mapping[str, Any] = field(default_factory=dict)

    def first(self, workers: int) -> tuple[Host, ...]:
        """Return the hosts that as many workers fill, in their order."""
        from hvdtrain.launch.hosts import Host

        taken, left = [], workers
        for host in self.hosts:
            if left > 0:
                taken.append(Host(host.name, min(left, host.slots)))
                left -= host.slots
        return tuple(taken)


class Stopped(Exception):  # noqa: N818
    """A signal ended the trial; `code` is 128 and its number."""

    def __init__(self, code: int) -> None:
        super().__init__(f"stopped by signal {code - 128}")
        self.code = code


class Collector(Generic[Measured]):
    """A view that shows nothing: it keeps the records of one kind, and what was said, for the case of a failure."""

    def __init__(self, kind: type[Measured]) -> None:
        self._kind: type[Measured] = kind
        self.records: list[Measured] = []
        self.said: list[str] = []

    def __call__(self, record: Record) -> None:
        if isinstance(record, self._kind):
            self.records.append(record)

    def message(self, text: str, rank: int | None = None) -> None:
        self.said.append(text if rank is None else f"worker {rank}: {text}")

    def notice(self, text: str) -> None:
        self.said.append(text)

    def close(self) -> None:
        """Nothing is held."""


def run_trial(task: Task, workers: int, place: Place | None = None) -> list[TrialRecord]:
    """Run a trial and return what each worker measured, by rank.

    Raises:
        UserError: the recipe or the machine can't do it.
        RunError: a worker failed, or said nothing.
        Stopped: a signal ended it.
    """
    return collect(TrialRecord, ("trial", json.dumps(asdict(task))), task.recipe, workers, place or Place())


def collect(kind: type[Measured], arguments: Sequence[str], recipe: str, workers: int, place: Place) -> list[Measured]:
    """Run a command of ours as the workers of a job, and return the record of a kind that each writes, by rank.

    Raises:
        UserError, RunError, Stopped: as `run_trial`.
    """
    from hvdtrain.launch import command, doors, hosts
    from hvdtrain.launch.processes import Job
    from hvdtrain.launch.runner import Runner

    check_environment()
    request = command.Launch(
        recipe=recipe,
        workers=workers,
        hosts=place.first(workers),
        controller=place.controller,  # type: ignore[arg-type]
        flags={"stall_check_shutdown_time_seconds": HANG_SECONDS} | hosts.flags_for(place.flags, place.first(workers)),
        instead=tuple(arguments),
    )
    command.check(request)
    program = doors.command(command.find_horovodrun(), doors.address_for(request.hosts, request.flags))
    line = command.horovodrun(program, request)
    job = Job("", hosts.remote(request.hosts), place.flags.get("ssh_port"), place.flags.get("ssh_identity_file"))
    heard = Collector(kind)
    code = Runner(line, heard, job).run()
    if code:
        raise Stopped(code)
    return _complete(heard, workers)


def check_environment() -> None:
    """Make sure that nothing in the environment spoils every figure.

    Raises:
        SetupError: the timeline is on, or the engine changes its own knobs.
    """
    if os.environ.get("HOROVOD_TIMELINE"):
        raise SetupError(
            "HOROVOD_TIMELINE is set: its writer takes a core from worker 0, so no figure is taken with it; unset it"
        )
    if os.environ.get("HOROVOD_AUTOTUNE", "0") not in ("", "0"):
        raise SetupError("HOROVOD_AUTOTUNE is set: an engine that tunes itself changes while it is measured; unset it")


def _complete(heard: Collector[Measured], workers: int) -> list[Measured]:
    records = sorted(heard.records, key=lambda record: record.rank)
    if [record.rank for record in records] != list(range(workers)):
        heard_of = ", ".join(str(record.rank) for record in records) or "none"
        last = "\n".join(heard.said[-5:])
        raise RunError(f"of {workers} workers only these told what they measured: {heard_of}\n{last}".rstrip())
    return records


def parse_task(text: str) -> Task:
    """Return the task that `run_trial` put on a worker's command line."""
    values = json.loads(text)
    return Task(**values | {"overrides": tuple(values["overrides"])})


def engine_milliseconds(records: Sequence[TrialRecord]) -> float:
    """Return the engine's cycle time in ms, as the first worker had it."""
    return float(records[0].engine.get("HOROVOD_CYCLE_TIME", "1").split()[0])
