"""When the loop gives gradients their weight: a batch with fewer targets than expected, one worker."""

from __future__ import annotations

import pytest
import torch

from hvdtrain.sync._strategy import Replicated
from hvdtrain.tasks._task import Phase
from hvdtrain.train.interrupt import Interrupt
from hvdtrain.train.loop import Loop, PhaseRun
from hvdtrain.train.precision import Precision
from hvdtrain.train.schedules import Schedule
from hvdtrain.train.timing import Stopwatch
from hvdtrain.world import Solo

EXPECTED, THERE = 8, 2
CPU = torch.device("cpu")


class SumOfWeights:
    """A loss whose gradient is the number of targets."""

    targets_per_sample = 1

    def __init__(self) -> None:
        self.phases = (
            Phase("only", trains=lambda name: True, loss=lambda model, batch: model.weight.sum() * len(batch["x"])),
        )

    @staticmethod
    def count(batch) -> int:
        return len(batch["x"])


class Remembering(Replicated):
    """Keeps the gradient as it was when it was to be sent."""

    def synchronize(self) -> None:
        self.sent = [p.grad.clone() for p in self.parameters]


@pytest.mark.parametrize("feeds_back", [True, False])
def test_what_is_fed_back_has_its_weight_before_it_is_sent(feeds_back: bool) -> None:
    """A residual that were weighed with a later, smaller batch would count for more than it is."""
    model = torch.nn.Linear(3, 1, bias=False)
    before = model.weight.detach().clone()
    parameters = list(model.parameters())
    strategy = Remembering(torch.optim.SGD(parameters, lr=1.0), parameters)
    strategy.feeds_back = feeds_back
    task = SumOfWeights()
    loop = Loop(
        world=Solo(),
        model=model,
        task=task,
        encoder=None,
        phases=[PhaseRun(task.phases[0], strategy, parameters)],
        loader=iter([[{"x": torch.zeros(THERE)}]]),
        precision=Precision("fp32", "", CPU),
        schedule=Schedule("constant", 1.0, 0.0, 0, 1),
        stopwatch=Stopwatch(CPU),
        interrupt=Interrupt(),
        device=CPU,
        seed=0,
        passes=1,
        global_batch_size=EXPECTED,
        max_grad_norm=None,
        total_steps=1,
    )
    list(loop.updates())
    assert torch.equal(strategy.sent[0], torch.full((1, 3), 1.0 if feeds_back else THERE / EXPECTED))
    # The mean over the targets that there were has a gradient of 1, whenever it was weighed.
    torch.testing.assert_close(model.weight.detach(), before - 1.0)
