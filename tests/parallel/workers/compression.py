"""Compressed updates on workers with gradients of their own, against simulations of all workers in one process (numpy).

A case is a strategy's name. The reference is the paper's algorithm in float64, in its own terms: Gram-Schmidt and
a Q that is not orthogonalised, or a sort. What is handed to the engine is counted at the engine's door.
"""

from __future__ import annotations

import horovod.torch as hvd
import numpy as np
import torch
from cases import Case, run

from hvdtrain import world as worlds
from hvdtrain.registry import config_class
from hvdtrain.sync import wrap
from hvdtrain.sync._powersgd import PowerSGD
from hvdtrain.sync._topk import TopK

STEPS, START, SHAPES = 8, 2, [(64, 48), (5,), (40, 16, 4), (3, 2)]
BIG = [0, 2]
world = worlds.start({"HOROVOD_CYCLE_TIME": "1"})
handed = 0


def counted(collective):
    def call(tensor, *arguments, **named):
        global handed
        handed += tensor.numel() * tensor.element_size()
        return collective(tensor, *arguments, **named)

    return call


for collective in ("allreduce_async", "allreduce_async_", "allgather_async", "grouped_allreduce_async"):
    setattr(hvd, collective, counted(getattr(hvd, collective)))


def gradient(step: int, rank: int, index: int) -> np.ndarray:
    """Workers differ, a part is common to all and lasts, and the last tensor but one has no gradient at odd steps."""
    drawn = np.random.default_rng([step, rank, index]).standard_normal(SHAPES[index])
    lasting = np.random.default_rng(index).standard_normal(SHAPES[index])
    return ((0.3 * drawn + lasting) / world.size).astype(np.float32) * (index != 2 or step % 2 == 0)


def make(config) -> tuple[list[torch.nn.Parameter], torch.optim.Optimizer]:
    parameters = [torch.nn.Parameter(torch.zeros(shape)) for shape in SHAPES]
    return parameters, torch.optim.SGD(parameters, lr=1.0)


def update(case: Case, strategy, parameters, step: int) -> list[np.ndarray]:
    """Two backward passes of half the gradient each; return what the update's gradient is."""
    for _ in range(2):
        for index, p in enumerate(parameters):
            if index != 2 or step % 2 == 0:
                (p * torch.from_numpy(gradient(step, world.rank, index)) / 2).sum().backward()
    strategy.synchronize()
    found = [p.grad.detach().numpy().copy() for p in parameters]
    everyone = hvd.allgather(torch.cat([p.grad.flatten() for p in parameters]).unsqueeze(0), name="compare")
    with case.check():
        assert all(torch.equal(row, everyone[0]) for row in everyone), "workers have different gradients"
    strategy.step(None)
    strategy.zero_grad()
    return found


def gram_schmidt(p: np.ndarray) -> np.ndarray:
    columns = []
    for column in p.T:
        for earlier in columns:
            column = column - (earlier @ column) * earlier
        columns.append(column / np.linalg.norm(column))
    return np.stack(columns, axis=1)


class SimulatedPowerSGD:
    """Algorithms 1 and 2 of Vogels et al. 2019, the aggregation a sum; starts from the strategy's own Q."""

    def __init__(self, q: torch.Tensor, rank: int) -> None:
        drawn, self.q = q.double().numpy(), {}
        for index in BIG:
            columns = int(np.prod(SHAPES[index][1:]))
            self.q[index] = drawn[: columns * rank].reshape(columns, rank)
            drawn = drawn[columns * rank :]
        self.error = {index: [0.0] * world.size for index in BIG}

    def __call__(self, index: int, shares: list[np.ndarray]) -> np.ndarray:
        delta = [
            (share + error).reshape(len(share), -1) for share, error in zip(shares, self.error[index], strict=True)
        ]
        basis = gram_schmidt(sum(one @ self.q[index] for one in delta))
        qs = [one.T @ basis for one in delta]
        self.error[index] = [(one - basis @ q.T).reshape(SHAPES[index]) for one, q in zip(delta, qs, strict=True)]
        self.q[index] = sum(qs)
        return (basis @ self.q[index].T).reshape(SHAPES[index])


class SimulatedTopK:
    """Memory and the k largest of each worker (Stich et al. 2018, algorithm 1), with the sum over workers."""

    def __init__(self, density: float) -> None:
        self.density = density
        self.error = {index: [0.0] * world.size for index in BIG}

    def __call__(self, index: int, shares: list[np.ndarray]) -> np.ndarray:
        total = np.zeros(SHAPES[index])
        for rank, share in enumerate(shares):
            whole = (share + self.error[index][rank]).flatten()
            sent = np.zeros_like(whole)
            largest = np.argsort(-np.abs(whole))[: int(np.ceil(self.density * whole.size))]
            sent[largest] = whole[largest]
            self.error[index][rank] = (whole - sent).reshape(SHAPES[index])
            total += sent.reshape(SHAPES[index])
        return total


def follows_the_simulation(case: Case, options: dict, formula: int) -> None:
    """Also: what `bytes_per_step` says was handed over, and is what the formula says; nothing is lost."""
    global handed
    config = config_class("sync", options["name"])(**options)
    parameters, optimizer = make(config)
    strategy = wrap(
        config,
        optimizer,
        named_parameters=[(str(index), p) for index, p in enumerate(parameters)],
        backward_passes_per_step=2,
        world=world,
    )
    simulated = (
        SimulatedPowerSGD(strategy.q, config.rank) if config.name == "powersgd" else SimulatedTopK(config.density)
    )
    elements, total = sum(p.numel() for p in parameters), 0
    for step in range(STEPS):
        shares = [[gradient(step, rank, index).astype(np.float64) for rank in range(world.size)] for index in range(4)]
        found, before = update_counting(case, strategy, parameters, step)
        total += before
        with case.check():
            assert before == (4 * elements if step < START else formula), (step, before, formula)
            for index in range(4):
                plain = step < START or index not in BIG
                expected = sum(shares[index]) if plain else simulated(index, shares[index])
                np.testing.assert_allclose(found[index], expected, rtol=1e-5, atol=1e-5)
            for index in BIG:
                kept, expected = strategy.residuals[index].numpy(), simulated.error[index][world.rank]
                np.testing.assert_allclose(kept, expected, rtol=1e-5, atol=1e-5)
    with case.check():
        assert abs(strategy.bytes_per_step - total / STEPS) < 1e-6
        assert any(float(strategy.residuals[i].abs().max()) > 0.1 for i in BIG), "there must be something left out"


def update_counting(case: Case, strategy, parameters, step: int) -> tuple[list[np.ndarray], int]:
    global handed
    compare, handed = hvd.allgather, 0
    found = update(case, strategy, parameters, step)
    assert compare is hvd.allgather
    return found, handed


def everything_is_exact(case: Case, build) -> None:
    """With nothing left out the compressed path itself is an all-reduce, for gradients of low rank and of zeros too."""
    parameters, optimizer = make(None)
    strategy = build(optimizer, parameters)
    for step in range(STEPS):
        found = update(case, strategy, parameters, step)
        # A worker may keep something, as its own columns need not lie where those of the sum do; all together, nothing.
        kept = hvd.allreduce(strategy.residual, op=hvd.Sum, name="kept")
        with case.check():
            for index in range(4):
                expected = sum(gradient(step, rank, index).astype(np.float64) for rank in range(world.size))
                np.testing.assert_allclose(found[index], expected, rtol=1e-5, atol=1e-5)
            assert float(kept.abs().max()) < 1e-5


WHOLE = 4 * (5 + 6)


def powersgd(case: Case) -> None:
    sent = 4 * 3 * ((64 + 48) + (40 + 64))
    follows_the_simulation(case, {"name": "powersgd", "rank": 3, "start_step": START}, WHOLE + sent)
    full = [48, 0, 40, 2]
    everything_is_exact(case, lambda optimizer, p: PowerSGD(optimizer, p, world, ranks=full))


def topk(case: Case) -> None:
    # 5 % of 64 x 48 = 3,072 and of 40 x 64 = 2,560 elements, rounded up: 154 and 128 entries of 8 bytes.
    sent = 8 * (154 + 128)
    follows_the_simulation(case, {"name": "topk", "density": 0.05, "start_step": START}, WHOLE + sent)
    everything_is_exact(case, lambda optimizer, p: TopK(optimizer, p, world, counts=[3072, 5, 2560, 0]))


run(world, lambda case, strategy: {"powersgd": powersgd, "topk": topk}[strategy](case))
