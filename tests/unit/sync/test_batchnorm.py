"""Synchronised BatchNorm, on workers that are threads, held against torch's on the batches of all put together."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor, nn

from hvdtrain.sync._batchnorm import SyncBatchNorm, convert, unsynchronised
from hvdtrain.world import Solo

CHANNELS = 5


class _Meeting:
    """Sums what threads bring under one name."""

    def __init__(self, size: int) -> None:
        self.barrier = threading.Barrier(size, timeout=20)
        self.brought: dict[int, tuple[str, Tensor]] = {}
        self.names: list[str] = []


class FakeWorld(Solo):
    """One of several threads that are workers."""

    def __init__(self, rank: int, size: int, meeting: _Meeting) -> None:
        self.rank, self.size, self._meeting = rank, size, meeting

    def start_sum(self, values: Tensor, name: str) -> Solo._Done:
        meeting = self._meeting
        meeting.brought[self.rank] = (name, values.clone())
        meeting.barrier.wait()
        everyone = list(meeting.brought.values())
        meeting.barrier.wait()
        assert len({name for name, _ in everyone}) == 1, "workers stand in different collectives"
        assert len({(tensor.shape, tensor.dtype) for _, tensor in everyone}) == 1
        if self.rank == 0:
            meeting.names.append(name)
        return Solo._Done(values.copy_(torch.stack([tensor for _, tensor in everyone]).sum(0)))


def on_workers(size: int, work: Callable[[FakeWorld], object]) -> list:
    meeting = _Meeting(size)

    def guarded(rank: int) -> object:
        try:
            return work(FakeWorld(rank, size, meeting))
        except BaseException:
            meeting.barrier.abort()
            raise

    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(guarded, range(size)))


def network(dimensions: int, **values: object) -> nn.Module:
    """Two norms with a layer between, so that gradients go through both."""
    torch.manual_seed(0)
    norm = {1: nn.BatchNorm1d, 2: nn.BatchNorm1d, 3: nn.BatchNorm2d, 4: nn.BatchNorm3d}[dimensions]
    layer = {
        1: lambda: nn.Linear(CHANNELS, CHANNELS),
        2: lambda: nn.Conv1d(CHANNELS, CHANNELS, 3, padding=1),
        3: lambda: nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1),
        4: lambda: nn.Conv3d(CHANNELS, CHANNELS, 3, padding=1),
    }[dimensions]
    model = nn.Sequential(norm(CHANNELS, **values), layer(), nn.Tanh(), norm(CHANNELS, **values))
    with torch.no_grad():
        for p in (p for p in model.parameters() if p.ndim == 1):
            p.uniform_(0.5, 1.5)
    return model.train()


def batches(counts: Sequence[int], dimensions: int, offset: float = 0.0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(len(counts))
    sides = (CHANNELS, 3, 4, 2)[:dimensions]
    return [
        torch.randn(count, *sides, generator=generator) * (1 + rank) + rank + offset
        for rank, count in enumerate(counts)
    ]


def pass_through(model: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return output and gradient of the input, for a loss in which every number has a weight of its own."""
    x = x.clone().requires_grad_()
    y = model(x)
    weights = torch.linspace(-1, 2, CHANNELS).view(1, -1, *(1,) * (x.dim() - 2))
    ((y * weights).square() * (x.detach() + 0.3)).sum().backward()
    return y.detach(), x.grad


@pytest.mark.parametrize("dimensions", [1, 2, 3, 4])
@pytest.mark.parametrize("counts", [(4, 4), (5, 1, 2), (6, 0), (0, 3, 4)])
@pytest.mark.parametrize("values", [{}, {"affine": False}, {"momentum": None}, {"track_running_stats": False}], ids=str)
def test_workers_equal_one_with_the_whole_batch(
    counts: tuple[int, ...], dimensions: int, values: dict[str, object]
) -> None:
    one = network(dimensions, **values).double()
    several = [copy.deepcopy(one) for _ in counts]
    parts = [part.double() for part in batches(counts, dimensions)]
    expected = [pass_through(one, torch.cat(parts)) for _ in range(2)]  # momentum acts twice

    def work(world: FakeWorld) -> tuple[Tensor, Tensor]:
        several[world.rank] = convert(several[world.rank], world)
        pass_through(several[world.rank], parts[world.rank])
        return pass_through(several[world.rank], parts[world.rank])

    found = on_workers(len(counts), work)
    close = {"rtol": 1e-8, "atol": 1e-10}
    torch.testing.assert_close(torch.cat([y for y, _ in found]), expected[1][0], **close)
    torch.testing.assert_close(torch.cat([gradient for _, gradient in found]), expected[1][1], **close)
    for name, p in one.named_parameters():
        total = torch.stack([model.get_parameter(name).grad for model in several]).sum(0)
        torch.testing.assert_close(total, p.grad, **close)
    for model in several:
        for name, buffer in one.named_buffers():
            torch.testing.assert_close(model.get_buffer(name), buffer, **close)
    evaluated = batches((3,), dimensions)[0].double()
    torch.testing.assert_close(several[0].eval()(evaluated), one.eval()(evaluated), **close)


def test_a_mean_far_from_zero_costs_no_more_digits_than_with_torch() -> None:
    """Sums of squares in float32 would leave nothing of the variance."""
    parts = batches((7, 2), 3, offset=3000.0)
    exact, torchs = nn.BatchNorm2d(CHANNELS).double().train(), nn.BatchNorm2d(CHANNELS).train()
    expected = pass_through(exact, torch.cat(parts).double())
    usual = pass_through(torchs, torch.cat(parts))
    layers = [nn.BatchNorm2d(CHANNELS).train() for _ in parts]

    def work(world: FakeWorld) -> tuple[Tensor, Tensor]:
        return pass_through(convert(layers[world.rank], world), parts[world.rank])

    found = [torch.cat(each) for each in zip(*on_workers(2, work), strict=True)]
    for own, other, right in zip(found, usual, expected, strict=True):
        error, usual_error = (float((tensor.double() - right).abs().max()) for tensor in (own, other))
        assert error <= 8 * usual_error + 1e-6
    torch.testing.assert_close(layers[0].running_var.double(), exact.running_var, rtol=1e-5, atol=0)


def test_one_worker_is_torchs_own() -> None:
    one, (x,) = network(3), batches((6,), 3)
    other = convert(copy.deepcopy(one), Solo())
    for expected, found in zip(pass_through(one, x), pass_through(other, x), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    for expected, found in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(found.grad, expected.grad, rtol=1e-5, atol=1e-4)
    for expected, found in zip(one.buffers(), other.buffers(), strict=True):
        torch.testing.assert_close(found, expected)


def test_bf16_under_autocast_keeps_its_type_and_statistics_in_float32() -> None:
    model, parts = network(3), batches((4, 4), 3)
    with torch.autocast("cpu", torch.bfloat16):
        expected = model(torch.cat(parts))
    copies = [network(3) for _ in parts]

    def work(world: FakeWorld) -> Tensor:
        converted = convert(copies[world.rank], world)
        with torch.autocast("cpu", torch.bfloat16):
            y = converted(parts[world.rank])
        y.float().square().sum().backward()
        return y

    found = torch.cat(on_workers(2, work))
    assert found.dtype == expected.dtype
    torch.testing.assert_close(found, expected, rtol=0, atol=0.05)
    assert all(p.grad.dtype == torch.float32 for p in copies[0].parameters())
    assert copies[0][3].running_var.dtype == torch.float32


def test_all_workers_empty_change_nothing() -> None:
    layers = [nn.BatchNorm1d(CHANNELS) for _ in range(2)]

    def work(world: FakeWorld) -> tuple[Tensor, Tensor]:
        return pass_through(convert(layers[world.rank], world), torch.empty(0, CHANNELS))

    for y, gradient in on_workers(2, work):
        assert y.shape == gradient.shape == (0, CHANNELS)
    for layer in layers:
        assert not layer.running_mean.any()
        assert bool((layer.running_var == 1).all())
        assert not layer.weight.grad.any()


def test_a_single_number_has_no_variance_and_moves_no_statistics() -> None:
    layer = convert(nn.BatchNorm1d(CHANNELS), Solo())
    y = layer(torch.full((1, CHANNELS), 3.0))
    assert y.abs().max() == 0
    assert bool((layer.running_var == 1).all())
    assert not layer.running_mean.any()


def test_evaluation_has_no_collectives() -> None:
    meeting = _Meeting(2)
    model = convert(network(3), FakeWorld(0, 2, meeting)).eval()
    model(batches((2,), 3)[0])
    assert meeting.names == []


def test_conversion_keeps_names_objects_and_modes() -> None:
    shared = nn.BatchNorm1d(4)
    model = nn.ModuleDict({"a": shared, "b": nn.Sequential(nn.Linear(4, 4), shared), "c": nn.GroupNorm(2, 4)})
    model["a"].eval()
    before = dict(model.named_parameters()) | dict(model.named_buffers())
    converted = convert(model, Solo())
    after = dict(converted.named_parameters()) | dict(converted.named_buffers())
    assert before.keys() == after.keys()
    assert all(after[name] is tensor for name, tensor in before.items())
    assert (
        converted.state_dict().keys()
        == nn.ModuleDict({"a": shared, "b": nn.Sequential(nn.Linear(4, 4), shared), "c": nn.GroupNorm(2, 4)})
        .state_dict()
        .keys()
    )
    assert isinstance(converted["a"], SyncBatchNorm)
    assert converted["a"] is converted["b"][1]
    assert isinstance(converted["c"], nn.GroupNorm)
    assert not converted["a"].training
    assert convert(nn.BatchNorm2d(3), Solo()).num_features == 3, "a norm may be the whole model"
    assert convert(converted, Solo())["a"] is converted["a"], "twice is once"


def test_layers_have_collectives_of_their_own() -> None:
    meetings = []

    def work(world: FakeWorld) -> None:
        pass_through(convert(network(1), world), batches((3,), 1)[0])
        meetings.append(world._meeting)

    on_workers(2, work)
    assert meetings[0].names == [f"batchnorm.{name}" for name in ("0.forward", "1.forward", "1.backward", "0.backward")]


def test_unsynchronised_workers_are_alone_and_leave_no_trace() -> None:
    one, (x,) = network(3), batches((6,), 3)
    converted = convert(copy.deepcopy(one), FakeWorld(0, 2, _Meeting(2)))
    before = copy.deepcopy(converted.state_dict())
    with unsynchronised(converted):
        torch.testing.assert_close(converted(x), one(x), rtol=1e-5, atol=1e-5)
    for name, tensor in converted.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert converted[0].world.size == 2


def test_wrong_channels_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected \(B, 5, \.\.\.\), got \(2, 4\)"):
        convert(nn.BatchNorm1d(5), Solo())(torch.ones(2, 4))
