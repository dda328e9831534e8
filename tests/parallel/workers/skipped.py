"""A batch whose loss is NaN on the last worker, with `train.on_nonfinite: skip`: what a strategy makes of it.

A case's options are the recipe's path, `sync`, and which step is `bad`. All other updates are good; the bad one must
leave parameters and state as they were where the workers decide together, and finite ones in any case, alike on all
workers.
"""

from __future__ import annotations

import torch
from cases import Case, run

from hvdtrain import world as worlds
from hvdtrain.recipe import load
from hvdtrain.train import state
from hvdtrain.train.assemble import assemble
from hvdtrain.train.interrupt import Interrupt

STEPS = 7


def tensors(loop) -> dict[str, torch.Tensor]:
    with loop.agreed():
        snapshot = state.take(loop, {})
        # Workers that are apart count their own updates, and a skipped one is none.
        found = {**snapshot.model, **(snapshot.optimizer if loop.coupled else {})}
        return {name: tensor.clone() for name, tensor in found.items() if not name.startswith("workers.")}


def work(world: worlds.World):
    def check(case: Case, options: dict) -> None:
        recipe = load(options["recipe"], [f"sync={options['sync']}", "train.on_nonfinite=skip"]).recipe
        loop = assemble(recipe, world, Interrupt()).loop
        phase, before, told = loop.phases[0].phase, {}, []
        worst = options["bad"]
        loss = phase.loss
        updates = loop.updates()
        for step in range(1, STEPS + 1):
            bad = step == worst and world.rank == loop.training_workers - 1
            object.__setattr__(phase, "loss", (lambda *args: loss(*args) * float("nan")) if bad else loss)
            told.append(next(updates).skipped)
            after = tensors(loop)
            if step == worst and loop.coupled:
                with case.check():
                    assert not [name for name in after if not torch.equal(after[name], before[name])]
            if step == worst + 1:
                with case.check():
                    assert any(not torch.equal(after[name], before[name]) for name in after)
            before = after
        with case.check():
            assert all(tensor.isfinite().all() for tensor in before.values())
            named = [bool(text) for text in told]
            mine = loop.coupled or world.rank == loop.training_workers - 1
            assert named == [mine and step == worst for step in range(1, STEPS + 1)]
        sums = world.gather([float(tensor.double().sum()) for name, tensor in sorted(before.items())])
        with case.check():
            assert all(one == sums[0] for one in sums[: loop.training_workers])

    return check


if __name__ == "__main__":
    import horovod.torch as hvd

    hvd.init()
    world = worlds.Horovod(hvd)
    run(world, work(world))
