"""Workers that don't synchronise: what a checkpoint keeps of each, and who goes on from what."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch

from hvdtrain.sync import none
from hvdtrain.train.checkpoint import Snapshot
from hvdtrain.train.state import were_apart

VALUES = {0: 1.0, 1: 2.0}


def worker(rank: int, size: int, value: float, *others: dict[str, Any], steps: int = 1) -> tuple[Any, torch.Tensor]:
    """A strategy whose model is one parameter, after some updates; `others` are what the other workers gather."""
    world = SimpleNamespace(rank=rank, size=size, gather=lambda mine: [mine, *others])
    parameter = torch.nn.Parameter(torch.full((3,), value))
    optimizer = torch.optim.AdamW([parameter], lr=0.1)
    for _ in range(steps):
        parameter.grad = torch.full((3,), value)
        optimizer.step()
    strategy = none.build(
        none.Config(), optimizer, named_parameters=[("w", parameter)], backward_passes_per_step=1, world=world
    )
    return strategy, parameter


def rows() -> dict[str, torch.Tensor]:
    """What two workers leave, stacked."""
    kept = [{name: t.clone() for name, t in worker(rank, 2, VALUES[rank])[0].own_state().items()} for rank in (0, 1)]
    return {name: torch.stack([one[name] for one in kept]) for name in kept[0]}


def moment(strategy: Any, parameter: torch.Tensor) -> torch.Tensor:
    return strategy.optimizer.state[parameter]["exp_avg"]


def test_as_many_workers_go_on_each_with_its_own() -> None:
    for rank in (0, 1):
        strategy, parameter = worker(rank, 2, 9.0)
        strategy.load_own_state(rows(), rank)
        expected, values = worker(rank, 2, VALUES[rank])
        assert torch.equal(parameter, values)
        assert torch.equal(moment(strategy, parameter), moment(expected, values))


def test_more_or_fewer_go_on_with_worker_0s() -> None:
    """Of an elastic job the model that they were given is that of whoever had the commit."""
    expected, values = worker(0, 2, VALUES[0])
    for rank, size in ((0, 1), (2, 3)):
        strategy, parameter = worker(rank, size, 9.0)
        strategy.load_own_state(rows(), rank)
        assert torch.equal(parameter, values)
        assert torch.equal(moment(strategy, parameter), moment(expected, values))


def test_a_checkpoint_knows_that_its_workers_never_agreed() -> None:
    assert were_apart(Snapshot({}, {f"workers.translation.{name}": rows for name, rows in rows().items()}, {}))
    assert not were_apart(Snapshot({}, {"workers.translation.local_sgd.parameters": torch.ones(2, 3)}, {}))


def test_one_worker_has_nothing_of_its_own() -> None:
    strategy, _ = worker(0, 1, 1.0)
    assert strategy.own_state() == {}
    assert strategy.coupled
    assert strategy.synchronises


def test_a_worker_that_made_no_update_yet_has_what_the_others_have() -> None:
    """Its names would not be those of the others, and each would wait for another tensor."""
    seen = [[0, "exp_avg", [3], "torch.float32", "cpu"], [0, "step", [], "torch.float32", "cpu"]]
    theirs = {f"none.state.0.{one[1]}": one for one in seen}
    strategy, parameter = worker(1, 2, 1.0, theirs, steps=0)
    strategy.state_dict()
    assert {"none.state.0.exp_avg", "none.state.0.step", "none.parameters.w"} == strategy.own_state().keys()
    assert torch.equal(moment(strategy, parameter), torch.zeros(3))
