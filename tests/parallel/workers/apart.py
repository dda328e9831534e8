"""The loop's updates on workers that each follow their own share, against n models that this process trains by torch.

Argument: a JSON object. `sync` is the strategy's Config; `optimizer` names a class of torch.optim and has its options;
`clip` is the norm to clip at; `equal` gives all workers as many targets, and then one model that is trained on whole
batches must be what all agree on, where they agree at every step; `steps` is how many updates are made.
"""

from __future__ import annotations

import copy
import json
import sys

import numpy as np
import torch
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

options = json.loads(sys.argv[1])
config = config_class("sync", options["sync"]["name"])(**options["sync"])
steps, clip, equal = options["steps"], options.get("clip"), options.get("equal", False)
world = worlds.start({"HOROVOD_CYCLE_TIME": "1"})
torch.manual_seed(0)
model = torch.nn.Sequential(
    torch.nn.Embedding(11, 8), torch.nn.Linear(8, 16), torch.nn.Tanh(), torch.nn.Linear(16, CLASSES)
)


def make_optimizer(parameters):
    chosen = dict(options["optimizer"])
    return getattr(torch.optim, chosen.pop("name"))(parameters, lr=LR, **chosen)


def summed_loss(net, batch):
    return F.cross_entropy(net(batch["inputs"]).flatten(0, 1), batch["targets"].flatten(), reduction="sum")


class OwnShares:
    targets_per_sample = TARGETS
    phases = (Phase("only", trains=lambda name: True, loss=summed_loss),)

    @staticmethod
    def count(batch):
        return int((batch["targets"] != -100).sum())


def micro_batch(step: int, rank: int, index: int) -> dict[str, torch.Tensor]:
    """Unless shares are equal, the first worker ignores most targets and the last none."""
    generator = torch.Generator().manual_seed(1000 * step + 10 * rank + index)
    inputs = torch.randint(11, (MICRO, TARGETS), generator=generator)
    targets = torch.randint(CLASSES, (MICRO, TARGETS), generator=generator)
    keep = torch.rand(MICRO, TARGETS, generator=generator) < (1 if equal else (rank + 1) / world.size)
    keep[0, 0] = True
    return {"inputs": inputs, "targets": targets.where(keep, -100)}


def share(rank: int, step: int) -> list[dict[str, torch.Tensor]]:
    """In the last step the last worker has nothing, and the others one micro batch less, unless shares are equal."""
    ragged = step == steps - 1 and not equal
    passes = PASSES if not ragged else 0 if rank == world.size - 1 else PASSES - 1
    return [micro_batch(step, rank, index) for index in range(passes)]


def whole(batches):
    return {name: torch.cat([batch[name] for batch in batches]) for name in ("inputs", "targets")}


class Simulated:
    """A worker as one process can play it."""

    def __init__(self) -> None:
        self.model = copy.deepcopy(model)
        self.optimizer = make_optimizer(self.model.parameters())

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
        if clip is not None and norm > clip:
            for g in gradients:
                g.mul_(clip / (norm + 1e-6))
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

    def __init__(self, workers: list[Simulated]) -> None:
        self.workers, self.done = workers, 0
        self.anchor = workers[0].values()
        self.momentum = [np.zeros_like(value) for value in self.anchor]

    def mean(self) -> list[np.ndarray]:
        return [np.mean(values, axis=0) for values in zip(*(w.values() for w in self.workers), strict=True)]

    def meet(self) -> None:
        self.done += 1
        warm = self.done <= getattr(config, "warmup_steps", 0)
        if config.name == "adasum":
            changes = zip(
                *([v - a for v, a in zip(w.values(), self.anchor, strict=True)] for w in self.workers), strict=True
            )
            agreed = [a + pairwise(list(change)) for a, change in zip(self.anchor, changes, strict=True)]
        elif not warm and (self.done - config.warmup_steps) % config.period:
            return
        elif warm or config.outer is None:
            agreed = self.mean()
        else:
            agreed = self.nesterov(self.mean())
        for worker in self.workers:
            worker.take(agreed)
        self.anchor = self.workers[0].values()

    def nesterov(self, mean: list[np.ndarray]) -> list[np.ndarray]:
        lr, mu, agreed = config.outer.lr, config.outer.momentum, []
        for index, (anchor, average) in enumerate(zip(self.anchor, mean, strict=True)):
            gradient = anchor - average
            self.momentum[index] = mu * self.momentum[index] + gradient
            agreed.append(
                anchor - lr * (gradient + mu * self.momentum[index] if config.outer.nesterov else self.momentum[index])
            )
        return agreed


def assert_close(found: list[torch.Tensor], expected: list[np.ndarray], what: str) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours.detach().numpy(), theirs, rtol=TOLERANCE, atol=TOLERANCE, err_msg=what)


handed: list[int] = []
start_sum = world.start_sum


def counting(values, name):
    handed.append(values.numel() * values.element_size())
    return start_sum(values, name)


world.start_sum = counting
simulated = [Simulated() for _ in range(world.size)]
meeting, one = Meeting(simulated), Simulated()
named = list(model.named_parameters())
strategy = wrap(
    config,
    make_optimizer([p for _, p in named]),
    named_parameters=named,
    backward_passes_per_step=PASSES,
    world=world,
)
loop = Loop(
    world=world,
    model=model,
    task=OwnShares(),
    encoder=None,
    phases=[PhaseRun(OwnShares.phases[0], strategy, [p for _, p in named])],
    loader=iter(share(world.rank, step) for step in range(steps)),
    precision=Precision("fp32", "", torch.device("cpu")),
    schedule=Schedule("constant", LR, 0.0, 0, steps),
    stopwatch=Stopwatch(torch.device("cpu")),
    interrupt=Interrupt(),
    device=torch.device("cpu"),
    seed=0,
    passes=PASSES,
    global_batch_size=PASSES * MICRO * world.size,
    max_grad_norm=clip,
    total_steps=steps,
)
in_updates = 0
for step, update in enumerate(loop.updates()):
    in_updates += sum(handed)
    losses = [worker.update(share(rank, step)) for rank, worker in enumerate(simulated)]
    meeting.meet()
    loss, norm = losses[world.rank]
    np.testing.assert_allclose([update.loss, update.grad_norm], [loss, norm], rtol=1e-5, atol=1e-6)
    assert_close(list(model.parameters()), simulated[world.rank].values(), f"step {step}")
    before = [p.detach().clone() for p in model.parameters()]
    with loop.agreed():
        assert_close(list(model.parameters()), meeting.mean(), f"agreed at step {step}")
        prints = world.gather([float(p.double().sum()) for p in model.parameters()])
        assert all(other == prints[0] for other in prints), "workers agree to the bit"
        if equal:
            one.update([batch for rank in range(world.size) for batch in share(rank, step)])
            assert_close(list(model.parameters()), one.values(), f"one model at step {step}")
    assert all(torch.equal(p, kept) for p, kept in zip(model.parameters(), before, strict=True))
    handed.clear()
if config.name == "local_sgd" and not config.warmup_steps:
    assert in_updates == steps * strategy.bytes_per_step
    assert strategy.bytes_per_step == 4 * sum(p.numel() for _, p in named) / config.period
print(f"updates agree on worker {world.rank}")
world.close()
