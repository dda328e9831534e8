"""Flat buffers against the same model with parameters and gradients of its own."""

from __future__ import annotations

import copy

import pytest
import torch

from hvdtrain.errors import SetupError
from hvdtrain.sync._flat import FlatBuffers, load_pieces, piece_state


def make_model() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.Linear(5, 2))


def make_optimizer(model: torch.nn.Module) -> torch.optim.AdamW:
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim == 1]
    return torch.optim.AdamW([{"params": matrices, "weight_decay": 0.5}, {"params": vectors, "weight_decay": 0.0}])


def one_piece_a_group(optimizer: torch.optim.Optimizer, buffers: FlatBuffers) -> list[torch.nn.Parameter]:
    pieces = []
    for group, (low, high) in zip(optimizer.param_groups, buffers.group_bounds(), strict=True):
        piece = torch.nn.Parameter(buffers.values[low:high])
        piece.grad = buffers.gradients[low:high]
        group["params"] = [piece]
        pieces.append(piece)
    return pieces


def test_an_optimizer_of_stretches_does_what_one_of_parameters_does_and_has_its_state() -> None:
    model = make_model()
    reference = copy.deepcopy(model)
    optimizer, plain = make_optimizer(model), make_optimizer(reference)
    buffers = FlatBuffers(optimizer, passes=2)
    pieces = one_piece_a_group(optimizer, buffers)
    for step in range(3):
        inputs = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(step))
        plain.zero_grad()
        for part in inputs:
            model(part).square().sum().backward()
            reference(part).square().sum().backward()
        buffers.complete()
        optimizer.step()
        plain.step()
    for mine, theirs in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0)
    scalars, vectors = piece_state(optimizer, pieces)
    state, expected = buffers.state_dict(optimizer.param_groups, scalars, vectors), plain.state_dict()
    torch.testing.assert_close(state["state"], expected["state"], rtol=0, atol=0)
    assert [group["params"] for group in state["param_groups"]] == [[0, 1], [2, 3]]

    again, numbers = make_model(), buffers.split_state(expected["state"])
    other = make_optimizer(again)
    moved = one_piece_a_group(other, FlatBuffers(other, passes=1))
    load_pieces(other, moved, 0, expected["param_groups"], *numbers)
    torch.testing.assert_close(piece_state(other, moved), (scalars, vectors), rtol=0, atol=0)


def test_a_parameter_that_backward_passes_by_has_a_gradient_of_zero_not_the_last_one() -> None:
    model = make_model()
    optimizer = make_optimizer(model)
    buffers = FlatBuffers(optimizer, passes=1)
    model(torch.ones(1, 3)).sum().backward()
    buffers.complete()
    assert buffers.gradients.count_nonzero() > 0
    model[2].bias.sum().backward()
    buffers.complete()
    assert buffers.gradients.tolist() == [0.0] * 25 + [1.0, 1.0] + [0.0] * 5  # of its group the last comes first


def test_a_gradient_is_ready_after_the_last_pass_and_the_last_layer_s_first() -> None:
    model = make_model()
    buffers = FlatBuffers(make_optimizer(model), passes=2)
    ready: list[int] = []
    buffers.on_ready = ready.append
    model(torch.ones(1, 3)).sum().backward()
    assert ready == []
    model(torch.ones(1, 3)).sum().backward()
    assert sorted(ready) == [0, 1, 2, 3]
    assert ready.index(0) < ready.index(1), "weights: of the last layer before the first"


def test_parameters_of_several_types_are_refused() -> None:
    model = make_model()
    model[2].double()
    with pytest.raises(SetupError, match="several types"):
        FlatBuffers(make_optimizer(model), passes=1)


def test_a_state_without_an_entry_for_an_unused_parameter_is_taken_over() -> None:
    """One worker's optimizer makes none for a parameter that never had a gradient."""
    reference = make_model()
    plain = torch.optim.Adam(reference.parameters())
    reference[0](torch.ones(1, 3)).sum().backward()
    plain.step()
    assert plain.state_dict()["state"].keys() == {0, 1}
    model = make_model()
    buffers = FlatBuffers(torch.optim.Adam(model.parameters()), passes=1)
    scalars, vectors = buffers.split_state(plain.state_dict()["state"])
    assert float(scalars["step"]) == 1
    moments = dict(zip(buffers.every, buffers.views(vectors["exp_avg"]), strict=True))
    for number, (mine, theirs) in enumerate(zip(model.parameters(), reference.parameters(), strict=True)):
        expected = plain.state[theirs]["exp_avg"] if number < 2 else torch.zeros_like(theirs)
        assert torch.equal(moments[mine], expected)
