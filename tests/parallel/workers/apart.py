"""The loop's updates on workers that each follow their own share, against n models that this process trains by torch.

The options of a case: `sync` is the strategy's Config; `optimizer` names a class of torch.optim and has its options;
`clip` is the norm to clip at; `equal` gives all workers as many targets, and then one model that is trained on whole
batches must be what all agree on, where they agree at every step; `steps` is how many updates are made.
"""

from __future__ import annotations

import copy
from functools import partial
from unittest import mock

import numpy as np
import pytest
import torch
from cases import Case, run
from torch.nn import functional as F

from hvdtrain import world as worlds
from hvdtrain.registry import config_class
from hvdtrain.sync import wrap
from hvdtrain.tasks._task import Phase
from hvdtrain.train.interrupt import Interrupt
from hvdtrain.train.loop import Loop, PhaseRun
from hvdtrain.train.precision import Precision
from hvdtrain.train.schedules import Schedule
from hvdtrain.train.timing import Stopwatch

PASSES, MICRO, TARGETS, CLASSES, LR = 2, 2, 5, 7, 0.05
# float32 sums in another order; AdamW divides by roots of tiny second moments, which magnifies what they differ by.
TOLERANCE = 2e-6


def make_model() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Embedding(11, 8), torch.nn.Linear(8, 16), torch.nn.Tanh(), torch.nn.Linear(16, CLASSES)
    )


def make_optimizer(name: str, parameters, **options):
    return getattr(torch.optim, name)(parameters, lr=LR, **options)


def summed_loss(net, batch):
    return F.cross_entropy(net(batch["inputs"]).flatten(0, 1), batch["targets"].flatten(), reduction="sum")


class OwnShares:
    targets_per_sample = TARGETS
    phases = (Phase("only", trains=lambda name: True, loss=summed_loss),)

    @staticmethod
    def count(batch):
        return int((batch["targets"] != -100).sum())


class Shares:
    """What so many workers are handed."""

    def __init__(self, size: int, steps: int, equal: bool) -> None:
        self.size, self.steps, self.equal = size, steps, equal

    def _micro_batch(self, step: int, rank: int, index: int) -> dict[str, torch.Tensor]:
        """Unless shares are equal, the first worker ignores most targets and the last none."""
        generator = torch.Generator().manual_seed(1000 * step + 10 * rank + index)
        inputs = torch.randint(11, (MICRO, TARGETS), generator=generator)
        targets = torch.randint(CLASSES, (MICRO, TARGETS), generator=generator)
        keep = torch.rand(MICRO, TARGETS, generator=generator) < (1 if self.equal else (rank + 1) / self.size)
        keep[0, 0] = True
        return {"inputs": inputs, "targets": targets.where(keep, -100)}

    def of(self, rank: int, step: int) -> list[dict[str, torch.Tensor]]:
        """In the last step the last worker has nothing, and the others one micro batch less, unless shares are
        equal.
        """
        ragged = step == self.steps - 1 and not self.equal
        passes = PASSES if not ragged else 0 if rank == self.size - 1 else PASSES - 1
        return [self._micro_batch(step, rank, index) for index in range(passes)]


def whole(batches):
    return {name: torch.cat([batch[name] for batch in batches]) for name in ("inputs", "targets")}


class Simulated:
    """A worker as one process can play it."""

    def __init__(self, model: torch.nn.Module, optimizer: dict, clip: float | None) -> None:
        self.model, self.clip = copy.deepcopy(model), clip
        self.optimizer = make_optimizer(parameters=self.model.parameters(), **optimizer)

    def update(self, batches) -> tuple[float, float]:
        for p in self.model.parameters():
            p.grad = torch.zeros_like(p)
        loss = torch.zeros(())
        if batches:
            batch = whole(batches)
            loss = summed_loss(self.model, batch) / (batch["targets"] != -100).sum()
            loss.backward()
        gradients = [p.grad for p in self.model.parameters()]
        norm = torch.cat([g.flatten() for g in gradients]).norm()
        if self.clip is not None and norm > self.clip:
            for g in gradients:
                g.mul_(self.clip / (norm + 1e-6))
        self.optimizer.step()
        return loss.item(), norm.item()

    def values(self) -> list[np.ndarray]:
        return [p.detach().double().numpy().copy() for p in self.model.parameters()]

    def take(self, values: list[np.ndarray]) -> None:
        with torch.no_grad():
            for p, value in zip(self.model.parameters(), values, strict=True):
                p.copy_(torch.from_numpy(value))


def adasum(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    dot, aa, bb = (a * b).sum(), (a * a).sum(), (b * b).sum()
    return (1 - dot / (2 * aa) if aa else 1) * a + (1 - dot / (2 * bb) if bb else 1) * b


def pairwise(vectors: list[np.ndarray]) -> np.ndarray:
    while len(vectors) > 1:
        vectors = [adasum(vectors[i], vectors[i + 1]) for i in range(0, len(vectors), 2)]
    return vectors[0]


class Meeting:
    """What the simulated workers do after their own updates, in float64."""

    def __init__(self, config, workers: list[Simulated]) -> None:
        self.config, self.workers, self.done = config, workers, 0
        self.anchor = workers[0].values()
        self.momentum = [np.zeros_like(value) for value in self.anchor]

    def mean(self) -> list[np.ndarray]:
        return [np.mean(values, axis=0) for values in zip(*(w.values() for w in self.workers), strict=True)]

    def meet(self) -> None:
        self.done += 1
        warm = self.done <= getattr(self.config, "warmup_steps", 0)
        if self.config.name == "adasum":
            changes = zip(
                *([v - a for v, a in zip(w.values(), self.anchor, strict=True)] for w in self.workers), strict=True
            )
            agreed = [a + pairwise(list(change)) for a, change in zip(self.anchor, changes, strict=True)]
        elif not warm and (self.done - self.config.warmup_steps) % self.config.period:
            return
        elif warm or self.config.outer is None:
            agreed = self.mean()
        else:
            agreed = self.nesterov(self.mean())
        for worker in self.workers:
            worker.take(agreed)
        self.anchor = self.workers[0].values()

    def nesterov(self, mean: list[np.ndarray]) -> list[np.ndarray]:
        outer, agreed = self.config.outer, []
        for index, (anchor, average) in enumerate(zip(self.anchor, mean, strict=True)):
            gradient = anchor - average
            self.momentum[index] = outer.momentum * self.momentum[index] + gradient
            ahead = gradient + outer.momentum * self.momentum[index] if outer.nesterov else self.momentum[index]
            agreed.append(anchor - outer.lr * ahead)
        return agreed


def assert_close(found: list[torch.Tensor], expected: list[np.ndarray], what: str) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours.detach().numpy(), theirs, rtol=TOLERANCE, atol=TOLERANCE, err_msg=what)


def make_loop(config, options: dict, model: torch.nn.Module, shares: Shares, world: worlds.World) -> Loop:
    named, device = list(model.named_parameters()), torch.device("cpu")
    strategy = wrap(
        config,
        make_optimizer(parameters=[p for _, p in named], **options["optimizer"]),
        named_parameters=named,
        backward_passes_per_step=PASSES,
        world=world,
    )
    return Loop(
        world=world,
        model=model,
        task=OwnShares(),
        encoder=None,
        phases=[PhaseRun(OwnShares.phases[0], strategy, [p for _, p in named])],
        loader=iter(shares.of(world.rank, step) for step in range(shares.steps)),
        precision=Precision("fp32", "", device),
        schedule=Schedule("constant", LR, 0.0, 0, shares.steps),
        stopwatch=Stopwatch(device),
        interrupt=Interrupt(),
        device=device,
        seed=0,
        passes=PASSES,
        global_batch_size=PASSES * MICRO * world.size,
        max_grad_norm=options.get("clip"),
        total_steps=shares.steps,
    )


def updates_agree(case: Case, options: dict, world: worlds.World) -> None:
    config = config_class("sync", options["sync"]["name"])(**options["sync"])
    shares, model = Shares(world.size, options["steps"], options.get("equal", False)), make_model()
    simulate = partial(Simulated, model, options["optimizer"], options.get("clip"))
    simulated, one = [simulate() for _ in range(world.size)], simulate()
    meeting, handed, in_updates = Meeting(config, simulated), [], 0
    loop = make_loop(config, options, model, shares, world)
    start_sum = world.start_sum

    def counting(values, name):
        handed.append(values.numel() * values.element_size())
        return start_sum(values, name)

    with mock.patch.object(world, "start_sum", counting):
        for step, update in enumerate(loop.updates()):
            in_updates += sum(handed)
            losses = [worker.update(shares.of(rank, step)) for rank, worker in enumerate(simulated)]
            meeting.meet()
            with case.check():
                found = [update.loss, update.grad_norm]
                np.testing.assert_allclose(found, losses[world.rank], rtol=1e-5, atol=1e-6)
                assert_close(list(model.parameters()), simulated[world.rank].values(), f"step {step}")
            before = [p.detach().clone() for p in model.parameters()]
            if shares.equal:
                one.update([batch for rank in range(world.size) for batch in shares.of(rank, step)])
            with loop.agreed():
                prints = world.gather([float(p.double().sum()) for p in model.parameters()])
                with case.check():
                    assert_close(list(model.parameters()), meeting.mean(), f"agreed at step {step}")
                    assert all(other == prints[0] for other in prints), "workers agree to the bit"
                    if shares.equal:
                        assert_close(list(model.parameters()), one.values(), f"one model at step {step}")
            with case.check():
                assert all(torch.equal(p, kept) for p, kept in zip(model.parameters(), before, strict=True))
            handed.clear()
    if config.name == "local_sgd":
        with case.check():
            bytes_per_step = loop.phases[0].strategy.bytes_per_step
            assert in_updates == pytest.approx(shares.steps * bytes_per_step)
            if not config.warmup_steps:
                assert bytes_per_step == 4 * sum(p.numel() for p in model.parameters()) / config.period


if __name__ == "__main__":
    joined = worlds.start({"HOROVOD_CYCLE_TIME": "1"})
    run(joined, lambda case, options: updates_agree(case, options, joined))
