"""Workers that come and go: Horovod Elastic around a run, which every change of the workers builds anew.

Each worker keeps the last commit, a snapshot of the whole run, in memory. Where a worker is lost the others go back to
it; where hosts come or go all stop right after one. Then the engine starts with the workers that there are, each of
them builds the run for that many, and those that are new take over the commit of one that was there. What is left to do
is the same: a global batch is that of the recipe for any number of workers, and the place in the order of samples is
part of the commit. So an update is done again only where it came after the commit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from hvdtrain.errors import LostWorkerError
from hvdtrain.metrics.records import ProblemRecord, Record
from hvdtrain.train.checkpoint import Snapshot
from hvdtrain.world import World, broadcast_tensors, elastic

if TYPE_CHECKING:
    from hvdtrain.train.engine import Joined
    from hvdtrain.train.run import Run


class Commits:
    """The newest commit of this worker, and what has been said of hosts since.

    Attributes:
        snapshot: the run as it was at the commit; None before the first.
        lost: what was noticed of a worker that ended, until somebody has told it.
    """

    def __init__(self) -> None:
        self.snapshot: Snapshot | None = None
        self.lost: str | None = None
        self._turn = 0
        self.check_hosts: Callable[[], None] = lambda: None

    def keep(self, snapshot: Snapshot) -> None:
        """Commit a snapshot, whose tensors may go on changing."""
        model, optimizer = (_copy(tensors) for tensors in (snapshot.model, snapshot.optimizer))
        self.snapshot = replace(snapshot, model=model, optimizer=optimizer)

    def turn(self) -> None:
        """Say that the run has taken another way, so that commits of before it are older than any that come."""
        self._turn += 1

    def newest(self, world: World) -> tuple[int, Snapshot] | None:
        """Return the newest commit of any worker on all of them, and whose it is; None where nobody has one."""
        own = self.snapshot
        held: list[list[int]] = world.gather([self._turn, own.state["step"]] if own else [-1, -1])
        owner = held.index(max(held))
        self._turn = max(turn for turn, _ in held) + 1
        if held[owner][0] < 0:
            return None
        giving = own if world.rank == owner else None
        snapshot = Snapshot(
            model=broadcast_tensors(world, giving.model if giving else None, owner),
            optimizer=broadcast_tensors(world, giving.optimizer if giving else None, owner),
            state=world.gather(giving.state if giving else None)[owner],
        )
        self.snapshot = snapshot
        return owner, snapshot


def run(joined: Joined, attempt: Callable[[World, Commits], None]) -> None:
    """Call `attempt` with the workers that there are, again after each change of them, until it returns.

    `attempt` goes from the newest commit to the end of the run; no collective comes before it.
    """
    commits = Commits()

    def go(world: World, check_hosts: Callable[[], None]) -> None:
        commits.check_hosts = check_hosts
        try:
            attempt(world, commits)
        except LostWorkerError as error:
            commits.lost = str(error)
            raise

    elastic.run(go, joined.again)


def records(run: Run, commits: Commits | None) -> Iterator[Record]:
    """Yield the records of a run, and in an elastic job what became of the workers of the one before."""
    told = commits.lost if commits else None
    if commits:
        commits.lost = None
    for index, record in enumerate(run.records()):
        yield record
        if index == 0 and told is not None:
            yield ProblemRecord(step=record.step, problem=told, action=f"on from the commit of step {record.step}")


def _copy(tensors: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}
