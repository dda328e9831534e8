"""The cross entropy whose gradient takes the place of the logits, against PyTorch's."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

from hvdtrain.tasks import _cross_entropy
from hvdtrain.tasks._cross_entropy import IGNORED, summed_cross_entropy


@pytest.fixture
def inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Hidden states (23, 8), an output matrix (40, 8) and targets (23,), some of them ignored."""
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(23, 8, generator=generator)
    matrix = torch.randn(40, 8, generator=generator)
    targets = torch.randint(40, (23,), generator=generator)
    targets[[0, 7, 22]] = IGNORED
    return hidden, matrix, targets


def loss_and_gradients(loss, hidden, matrix, dtype, factor: float = 0.37) -> list[torch.Tensor]:
    """The loss of the logits, and the gradients of what they are made of."""
    hidden, matrix = hidden.clone().requires_grad_(), matrix.clone().requires_grad_()
    value = loss((hidden @ matrix.T).to(dtype))
    (value * factor).backward()
    return [value.detach(), hidden.grad, matrix.grad]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("rows", [1, 5, 23, 100])
def test_loss_and_gradients_are_those_of_pytorch(inputs, monkeypatch, rows: int, smoothing: float) -> None:
    hidden, matrix, targets = inputs
    monkeypatch.setattr(_cross_entropy, "_CHUNK", rows * 40)

    def reference(logits: torch.Tensor) -> torch.Tensor:
        return cross_entropy(logits, targets, ignore_index=IGNORED, reduction="sum", label_smoothing=smoothing)

    ours = loss_and_gradients(lambda x: summed_cross_entropy(x, targets, smoothing), hidden, matrix, torch.float32)
    theirs = loss_and_gradients(reference, hidden, matrix, torch.float32)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_bf16_logits_are_summed_in_float32(inputs) -> None:
    """Of the same rounded logits, and the gradient is rounded to bf16 once, as autograd does it."""
    hidden, matrix, targets = inputs
    ours = loss_and_gradients(lambda x: summed_cross_entropy(x, targets), hidden, matrix, torch.bfloat16)
    theirs = loss_and_gradients(
        lambda x: cross_entropy(x.float(), targets, ignore_index=IGNORED, reduction="sum"),
        hidden,
        matrix,
        torch.bfloat16,
    )
    torch.testing.assert_close(ours[0], theirs[0], rtol=1e-6, atol=0)
    for a, b in zip(ours[1:], theirs[1:], strict=True):
        assert torch.equal(a, b)


def test_nothing_but_the_logits_is_as_large(inputs) -> None:
    """The gradient is the logits' own memory."""
    _, _, targets = inputs
    source = torch.randn(23, 40, requires_grad=True)
    logits = source * 2
    received = []
    logits.register_hook(lambda gradient: received.append(gradient.data_ptr()))
    summed_cross_entropy(logits, targets).backward()
    assert received == [logits.data_ptr()]


def test_a_second_backward_pass_is_refused(inputs) -> None:
    """The logits are gone then."""
    _, _, targets = inputs
    loss = summed_cross_entropy(torch.randn(23, 40, requires_grad=True) * 2, targets)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_logits_that_need_no_gradient_stay_as_they_are(inputs) -> None:
    _, _, targets = inputs
    logits = torch.randn(23, 40)
    before = logits.clone()
    summed_cross_entropy(logits, targets)
    assert torch.equal(logits, before)


def test_what_was_saved_of_the_logits_is_not_used_overwritten(inputs) -> None:
    """tanh saves its result for its own backward pass, which must fail rather than compute with something else."""
    _, _, targets = inputs
    source = torch.randn(23, 40, requires_grad=True)
    loss = summed_cross_entropy(torch.tanh(source), targets)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_no_targets_at_all_give_zero() -> None:
    source = torch.randn(0, 40, requires_grad=True)
    loss = summed_cross_entropy(source * 1, torch.zeros(0, dtype=torch.long))
    loss.backward()
    assert loss == 0
    assert source.grad.shape == (0, 40)
