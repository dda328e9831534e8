"""Where a resumed run stands: past the length that it is given now, it is finished."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hvdtrain.data.loader import make_loader
from hvdtrain.data.partitions import contiguous, random
from hvdtrain.data.sequences import SequenceDataset
from hvdtrain.train.resume import _count_what_is_left
from hvdtrain.train.run import Run
from hvdtrain.world import Solo


def resumed(config: Any, step: int, epochs: int | None, total_steps: int) -> Run:
    """A run over 10 samples, four an update, that has done `step` updates of a longer one."""
    data = SequenceDataset(np.arange(41, dtype=np.uint16), 4)
    options: dict[str, Any] = {"seed": 1, "global_batch_size": 4, "micro_batch_size": 4, "rank": 0, "size": 1}
    longer = make_loader(data, config, epochs=None, **options)
    for _ in range(step):
        next(longer)
    loader = make_loader(data, config, epochs=epochs, **options)
    loader.load_state_dict(longer.state_dict())
    task = SimpleNamespace(objective=("loss", "min"))
    loop = SimpleNamespace(loader=loader, step=step, total_steps=total_steps, task=task)
    train = SimpleNamespace(early_stopping=None, objective=None)
    assembly: Any = SimpleNamespace(loop=loop, recipe=SimpleNamespace(train=train))
    _count_what_is_left(assembly)
    nothing: Any = None
    return Run(assembly, Solo(), nothing, nothing, {})


@pytest.mark.parametrize("config", [random.Config(), contiguous.Config()], ids=lambda config: config.name)
def test_a_run_past_its_epochs_is_finished(config: Any) -> None:
    past = resumed(config, step=8, epochs=1, total_steps=3)
    assert past.ending
    assert past.progress.startswith("8 of 8 steps")
    short = resumed(config, step=2, epochs=2, total_steps=5)
    assert not short.ending


def test_a_run_past_its_steps_is_finished() -> None:
    assert resumed(random.Config(), step=8, epochs=None, total_steps=5).ending
    assert resumed(random.Config(), step=8, epochs=None, total_steps=8).ending
    assert not resumed(random.Config(), step=8, epochs=None, total_steps=9).ending
