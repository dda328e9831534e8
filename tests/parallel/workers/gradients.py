"""The loop's updates on workers with unequal shares, against plain torch on the whole batch.

The options of a case: a strategy's Config, and the tolerance. Workers that only serve have no share. Each worker
computes the reference for itself: the mean over all valid targets of the global batch, clipped and stepped by torch
alone.
"""

from __future__ import annotations

import copy

import torch
from cases import Case, run
from torch.nn import functional as F

from hvdtrain import world as worlds
from hvdtrain.registry import config_class
from hvdtrain.sync import wrap
from hvdtrain.sync._config import training_workers
from hvdtrain.tasks._task import Phase
from hvdtrain.train.interrupt import Interrupt
from hvdtrain.train.loop import Loop, PhaseRun
from hvdtrain.train.precision import Precision
from hvdtrain.train.schedules import Schedule
from hvdtrain.train.timing import Stopwatch

PASSES, MICRO, TARGETS, CLASSES, STEPS, LR = 2, 2, 5, 7, 4, 0.05
DEVICE = torch.device("cpu")


class UnequalTask:
    """Token classification with ignored targets."""

    targets_per_sample = TARGETS

    def __init__(self) -> None:
        self.phases = (Phase("only", trains=lambda name: True, loss=self._loss),)

    @staticmethod
    def _loss(model, batch):
        return F.cross_entropy(model(batch["inputs"]).flatten(0, 1), batch["targets"].flatten(), reduction="sum")

    @staticmethod
    def count(batch):
        return int((batch["targets"] != -100).sum())


class Shares:
    """What so many training workers are handed."""

    def __init__(self, training: int) -> None:
        self.training = training

    def _micro_batch(self, step: int, rank: int, index: int) -> dict[str, torch.Tensor]:
        """The first worker ignores most targets, the last none: the mean of the workers' means would be wrong."""
        generator = torch.Generator().manual_seed(1000 * step + 10 * rank + index)
        inputs = torch.randint(11, (MICRO, TARGETS), generator=generator)
        targets = torch.randint(CLASSES, (MICRO, TARGETS), generator=generator)
        keep = torch.rand(MICRO, TARGETS, generator=generator) < (rank + 1) / self.training
        keep[0, 0] = True
        return {"inputs": inputs, "targets": targets.where(keep, -100)}

    def _passes_of(self, step: int, rank: int) -> int:
        """In the last step the last worker has nothing, and the others one micro batch less: a ragged end."""
        if step < STEPS - 1:
            return PASSES
        return 0 if rank == self.training - 1 > 0 else PASSES - 1

    def of(self, rank: int, step: int) -> list[dict[str, torch.Tensor]]:
        passes = self._passes_of(step, rank) if rank < self.training else 0
        return [self._micro_batch(step, rank, index) for index in range(passes)]

    def whole(self, step: int) -> dict[str, torch.Tensor]:
        batches = [batch for rank in range(self.training) for batch in self.of(rank, step)]
        return {name: torch.cat([batch[name] for batch in batches]) for name in ("inputs", "targets")}


def make_model() -> torch.nn.Module:
    """One parameter is not used by any loss."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Embedding(11, 8), torch.nn.Linear(8, 16), torch.nn.Tanh(), torch.nn.Linear(16, CLASSES)
    )
    model.register_parameter("unused", torch.nn.Parameter(torch.ones(3)))
    return model


def make_loop(config, model: torch.nn.Module, shares: Shares, world: worlds.World) -> Loop:
    named = list(model.named_parameters())
    strategy = wrap(
        config,
        torch.optim.SGD([p for _, p in named], lr=LR, momentum=0.9),
        named_parameters=named,
        backward_passes_per_step=PASSES,
        world=world,
    )
    task = UnequalTask()
    return Loop(
        world=world,
        model=model,
        task=task,
        encoder=None,
        phases=[PhaseRun(task.phases[0], strategy, [p for _, p in named])],
        loader=iter(shares.of(world.rank, step) for step in range(STEPS)),
        precision=Precision("fp32", "", DEVICE),
        schedule=Schedule("constant", LR, 0.0, 0, STEPS),
        stopwatch=Stopwatch(DEVICE),
        interrupt=Interrupt(),
        device=DEVICE,
        seed=0,
        passes=PASSES,
        global_batch_size=PASSES * MICRO * shares.training,
        max_grad_norm=0.5,
        total_steps=STEPS,
        servers=world.size - shares.training,
    )


def updates_agree(case: Case, options: dict, tolerance: float, world: worlds.World) -> Loop:
    """Make all updates beside the reference; return the loop at its end."""
    config = config_class("sync", options["name"])(**options)
    model, shares = make_model(), Shares(training_workers(config, world.size))
    reference = copy.deepcopy(model)
    loop = make_loop(config, model, shares, world)
    factor = world.size if getattr(config, "op", "") == "sum" else 1
    optimizer = torch.optim.SGD(reference.parameters(), lr=LR, momentum=0.9)
    for step, update in enumerate(loop.updates()):
        whole = shares.whole(step)
        optimizer.zero_grad()
        loss = F.cross_entropy(reference(whole["inputs"]).flatten(0, 1), whole["targets"].flatten())
        (loss * factor).backward()
        norm = torch.nn.utils.clip_grad_norm_(reference.parameters(), 0.5)
        optimizer.step()
        near = {"rtol": tolerance, "atol": tolerance}
        with case.check():
            torch.testing.assert_close(torch.tensor(update.loss), loss.detach(), **near, check_dtype=False)
            torch.testing.assert_close(torch.tensor(update.grad_norm), norm, **near)
            assert update.targets == int((whole["targets"] != -100).sum())
        with loop.agreed(), case.check():
            for mine, theirs in zip(model.parameters(), reference.parameters(), strict=True):
                torch.testing.assert_close(mine, theirs, **near)
    with case.check():
        assert loop.step == STEPS
        if config.name == "sharded":
            elements = sum(p.numel() for p in model.parameters())
            kept = loop.phases[0].strategy.state_bytes()
            assert abs(kept - 4 * elements / world.size) <= 4, "its share of the momentum, in fp32"
    return loop


if __name__ == "__main__":
    joined = worlds.start({"HOROVOD_CYCLE_TIME": "1"})
    run(joined, lambda case, options: updates_agree(case, options["sync"], options["tolerance"], joined))
