"""Rank, size and collectives: the only door to Horovod's runtime, with a peer for a process that runs alone.

Everything that crosses it is a tensor or JSON; nothing is pickled, so a worker can't be made to run what another sent.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Protocol, TypeVar

import torch

from hvdtrain.errors import LostWorkerError, SetupError, UserError, shared
from hvdtrain.launched import launched_size
from hvdtrain.metrics import activity
from hvdtrain.world import _engine

T = TypeVar("T")

_NAP = 2e-4
"""Seconds: a thousandth of a step that is worth distributing on CPUs."""

HOROVOD_MISSING = (
    "this run has {size} workers, which needs Horovod, and Horovod is not installed in this Python; "
    "scripts/install builds it, or train with one process: hvdtrain train RECIPE"
)


class Pending(Protocol):
    """A collective under way."""

    def wait(self) -> torch.Tensor:
        """Block until it is done and return the result."""
        ...

    def done(self) -> bool:
        """Return whether `wait` would not block."""
        ...


class World(Protocol):
    """The workers of a run, as one of them sees them."""

    rank: int
    size: int
    local_rank: int
    local_size: int
    controller: str
    """What the workers are coordinated by: "gloo", "mpi", or "" where they are not."""

    def start_sum(self, values: torch.Tensor, name: str) -> Pending:
        """Begin to sum a tensor over workers, in place."""
        ...

    def gather(self, value: Any) -> list[Any]:
        """Return the JSON values of all workers, by rank."""
        ...

    def concatenate(self, rows: torch.Tensor, name: str) -> torch.Tensor:
        """Return the rows of all workers one behind the other, by rank; all but their number is alike."""
        ...

    def broadcast_(self, tensors: Mapping[str, torch.Tensor], root: int = 0) -> None:
        """Overwrite every tensor with that of rank `root`; names, shapes and types must be equal on all workers."""
        ...

    def close(self) -> None:
        """Leave the world; no collective may follow."""
        ...


class Solo:
    """The world of one process: every collective is what it would be with one worker."""

    rank, size, local_rank, local_size = 0, 1, 0, 1
    controller = ""

    class _Done:
        def __init__(self, value: torch.Tensor) -> None:
            self._value = value

        def wait(self) -> torch.Tensor:
            return self._value

        def done(self) -> bool:
            return True

    def start_sum(self, values: torch.Tensor, name: str) -> Pending:
        return self._Done(values)

    def gather(self, value: Any) -> list[Any]:
        return [json.loads(json.dumps(value))]

    def concatenate(self, rows: torch.Tensor, name: str) -> torch.Tensor:
        return rows

    def broadcast_(self, tensors: Mapping[str, torch.Tensor], root: int = 0) -> None:
        return None

    def close(self) -> None:
        return None


class Detached:
    """Workers that do not talk to each other: each keeps its place in a world, and takes its own values for all."""

    controller = ""

    def __init__(self, world: World) -> None:
        self.rank, self.size = world.rank, world.size
        self.local_rank, self.local_size = world.local_rank, world.local_size

    def start_sum(self, values: torch.Tensor, name: str) -> Pending:
        return Solo._Done(values.mul_(self.size))

    def gather(self, value: Any) -> list[Any]:
        return [json.loads(json.dumps(value)) for _ in range(self.size)]

    def concatenate(self, rows: torch.Tensor, name: str) -> torch.Tensor:
        return torch.cat([rows] * self.size)

    def broadcast_(self, tensors: Mapping[str, torch.Tensor], root: int = 0) -> None:
        return None

    def close(self) -> None:
        return None


class Horovod:
    """The workers that horovodrun or mpirun started. `hvd` is `horovod.torch`, initialised."""

    def __init__(self, hvd: Any) -> None:
        self._hvd = hvd
        self.rank: int = hvd.rank()
        self.size: int = hvd.size()
        self.local_rank: int = hvd.local_rank()
        self.local_size: int = hvd.local_size()
        self.controller = "mpi" if hvd.mpi_enabled() else "gloo"

    class _Handle:
        def __init__(self, hvd: Any, handle: int, name: str) -> None:
            self._hvd, self._handle, self._name = hvd, handle, name

        def wait(self) -> torch.Tensor:
            result: torch.Tensor = finish(self._handle, self._name)
            return result

        def done(self) -> bool:
            return bool(self._hvd.poll(self._handle))

    def start_sum(self, values: torch.Tensor, name: str) -> Pending:
        handle = guard(lambda: self._hvd.allreduce_async_(values, name=name, op=self._hvd.Sum), name)
        return self._Handle(self._hvd, handle, name)

    def gather(self, value: Any) -> list[Any]:
        # JSON holds no line end, so that the values part themselves and one collective is enough.
        mine = torch.frombuffer(bytearray(json.dumps(value).encode() + b"\n"), dtype=torch.uint8)
        everyone = guard(lambda: self._hvd.allgather(mine, name="gather"), "gather")
        return [json.loads(line) for line in everyone.numpy().tobytes().splitlines()]

    def concatenate(self, rows: torch.Tensor, name: str) -> torch.Tensor:
        # An all-gather of nothing at all is refused by some controllers.
        if sum(self.gather(len(rows))) == 0:
            return rows
        whole: torch.Tensor = guard(lambda: self._hvd.allgather(rows.contiguous(), name=name), name)
        return whole

    def broadcast_(self, tensors: Mapping[str, torch.Tensor], root: int = 0) -> None:
        handles = {}
        for name, tensor in tensors.items():
            said = f"broadcast.{name}"
            handles[said] = guard(partial(self._hvd.broadcast_async_, tensor, root, name=said), said)
        for said, handle in handles.items():
            finish(handle, said)

    def close(self) -> None:
        self._hvd.shutdown()


def start(engine: Mapping[str, str], *, fuses: bool = True) -> World:
    """Join the workers that this process was started with; alone, return `Solo`.

    Args:
        engine: environment variables for Horovod's engine, which reads them once, when it starts.
        fuses: whether the engine is to fuse tensors; otherwise its threshold is 0, whatever the variables say.

    Raises:
        SetupError: there are several workers and no Horovod.
    """
    elastic = os.environ.get("HOROVOD_ELASTIC") == "1"
    if launched_size() == 1 and not elastic:
        return Solo()
    os.environ.update(engine)
    try:
        import horovod.torch as hvd
    except ImportError as error:
        raise SetupError(HOROVOD_MISSING.format(size=launched_size())) from error
    with _engine.environment(hvd, elastic=elastic, fuses=fuses):
        guard(hvd.init, "the start of the engine")
    if hvd.size() != launched_size() and not elastic:
        raise SetupError(
            f"this process was started as one of {launched_size()} workers, and Horovod sees {hvd.size()}: it was "
            "built without what this launcher speaks (mpirun needs a Horovod with MPI; hvdtrain doctor tells what "
            "yours has); use horovodrun or hvdtrain launch, or install mpicxx and run scripts/install again"
        )
    return Horovod(hvd)


def hosts(world: World) -> list[str]:
    """Return the host name of every worker, by rank."""
    return world.gather(socket.gethostname())


def together(world: World, work: Callable[[], T]) -> T:
    """Do something on every worker that can fail on some; where it did, all raise the same error.

    Without this a worker that fails alone leaves the others waiting in their next collective.

    Raises:
        UserError: at least one worker raised one; the message names the ranks unless all failed alike.
    """
    try:
        result, problem = work(), None
    except UserError as error:
        problem = error
    messages = world.gather(None if problem is None else str(problem))
    failed = {rank: message for rank, message in enumerate(messages) if message is not None}
    if not failed:
        return result
    if problem is None or len(failed) < world.size or len(set(failed.values())) > 1:
        names = hosts(world)
        problem = UserError("\n".join(f"worker {rank} on {names[rank]}: {text}" for rank, text in failed.items()))
    raise shared(problem)


def on_first(world: World, work: Callable[[], Any]) -> Any:
    """Do something on worker 0 alone; every worker gets its JSON result, or raises its error."""
    return world.gather(together(world, lambda: work() if world.rank == 0 else None))[0]


def broadcast_tensors(
    world: World, tensors: Mapping[str, torch.Tensor] | None, root: int = 0
) -> dict[str, torch.Tensor]:
    """Return the tensors of rank `root` on every worker; the others pass None, and learn names, shapes and types."""
    mine = {name: [list(t.shape), str(t.dtype).removeprefix("torch.")] for name, t in (tensors or {}).items()}
    layout: dict[str, tuple[list[int], str]] = world.gather(mine)[root]
    received = {
        name: tensors[name].contiguous() if tensors else torch.empty(shape, dtype=getattr(torch, dtype))
        for name, (shape, dtype) in layout.items()
    }
    world.broadcast_(received, root)
    return received


def finish(handle: int, name: str) -> Any:
    """Wait for a collective of Horovod, of the tensor of that name, and return what it made."""
    import horovod.torch as hvd

    rest_until_done([handle], name)
    return guard(lambda: hvd.synchronize(handle), name)


def rest_until_done(handles: Iterable[int], name: str) -> None:
    """Sleep until collectives of Horovod are done, and leave it to Horovod where there are GPUs.

    Its own wait asks without a pause, on a core that its engine, or another worker, could use.
    """
    import horovod.torch as hvd

    if torch.cuda.is_available():
        return
    with activity.waiting(name):
        for handle in handles:
            while not hvd.poll(handle):
                time.sleep(_NAP)


def guard(collective: Callable[[], T], name: str) -> T:
    """Run a collective, of the tensor of that name; Horovod's error for a worker that is gone becomes ours."""
    from horovod.common.exceptions import HorovodInternalError

    try:
        with activity.waiting(name):
            return collective()
    except HorovodInternalError as error:
        # Horovod says so too where workers ask for tensors that do not go together.
        said = (str(error).splitlines() or [""])[0][:300]
        raise LostWorkerError(
            f"lost contact with another worker, which ended or can't be reached{said and f' (Horovod: {said})'}"
        ) from error
