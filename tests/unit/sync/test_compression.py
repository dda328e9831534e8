"""What PowerSGD and top-k send, and what becomes of residuals, on one process."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from hvdtrain.sync import powersgd, topk
from hvdtrain.sync._powersgd import PowerSGD, basis, ranks
from hvdtrain.sync._topk import TopK, counts
from hvdtrain.world import Detached, Solo


class Place:
    """A worker's place among several, for a world that nobody talks in."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size, self.local_rank, self.local_size = rank, size, rank, size


SHAPES = [(60, 40), (40,)]


def made(kind: type, rank: int, size: int, what: dict):
    parameters = [torch.nn.Parameter(torch.zeros(shape)) for shape in SHAPES]
    return kind(torch.optim.SGD(parameters, lr=1.0), parameters, Detached(Place(rank, size)), **what)


POWERSGD, TOPK = (PowerSGD, {"ranks": [3, 0]}), (TopK, {"counts": [24, 0]})


@pytest.mark.parametrize(
    ("shape", "rank", "expected"),
    [
        ((100, 50), 4, 4),
        ((100, 50), 16, 16),  # 150 x 16 = 2,400 of 5,000
        ((100, 50), 17, 0),  # 150 x 17 = 2,550: more than half
        ((8, 3, 5, 5), 2, 2),  # the matrix is 8 x 75: 166 of 600
        ((8, 3, 5, 5), 4, 0),
        ((4096,), 1, 0),
        ((1, 4096), 1, 0),
        ((0, 5), 1, 0),
        ((), 1, 0),
    ],
)
def test_a_matrix_is_compressed_where_that_halves_it(shape: tuple[int, ...], rank: int, expected: int) -> None:
    assert ranks([torch.empty(shape)], rank) == [expected]


@pytest.mark.parametrize(
    ("elements", "density", "expected"),
    [(10_000, 0.01, 100), (10_001, 0.01, 101), (2047, 0.01, 0), (10_000, 0.4999, 4999), (10_000, 0.5, 0), (2048, 1, 0)],
)
def test_a_tensor_is_thinned_where_it_is_large_and_shrinks(elements: int, density: float, expected: int) -> None:
    assert counts([torch.empty(elements)], density) == [expected]


def test_a_basis_is_orthonormal_and_spans_the_columns_dependent_or_not() -> None:
    full = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
    dependent = full.clone()
    dependent[:, 2] = dependent[:, 0] + dependent[:, 1]
    for matrix in (full, dependent, torch.zeros(20, 4)):
        q = basis(matrix)
        torch.testing.assert_close(q.T @ q, torch.eye(4), rtol=0, atol=1e-6)
        torch.testing.assert_close(q @ (q.T @ matrix), matrix, rtol=0, atol=1e-5)
    assert not basis(torch.full((20, 4), float("nan"))).isfinite().any(), "the loop must see what is not finite"


@pytest.mark.parametrize(("kind", "what"), [POWERSGD, TOPK])
def test_the_sum_of_residuals_survives_another_number_of_workers(kind: type, what: dict) -> None:
    old = [made(kind, rank, 3, what) for rank in range(3)]
    for rank, strategy in enumerate(old):
        strategy.residual.copy_(torch.randn(2440, generator=torch.Generator().manual_seed(rank)))
        strategy.updates = 7
    states = [strategy.own_state() for strategy in old]
    rows = {key: torch.stack([state[key] for state in states]) for key in states[0]}
    same = made(kind, 1, 3, what)
    same.load_own_state(rows, 1)
    assert torch.equal(same.residual, old[1].residual)
    new = [made(kind, rank, 2, what) for rank in range(2)]
    for rank, strategy in enumerate(new):
        strategy.load_own_state(rows, rank)
        assert strategy.updates == 7
    torch.testing.assert_close(new[0].residual + new[1].residual, sum(strategy.residual for strategy in old))
    new[0].load_own_state({}, 0)
    assert not new[0].residual.any(), "another strategy left nothing behind"
    assert new[0].updates == 0


def test_q_is_equal_on_all_workers_and_drawn_anew_for_another_rank() -> None:
    kind, what = POWERSGD
    first, second = (made(kind, rank, 2, what) for rank in range(2))
    fresh = first.q.clone()
    assert torch.equal(fresh, second.q)
    first.q.mul_(2)
    rows = {key: tensor.unsqueeze(0) for key, tensor in first.own_state().items()}
    second.load_own_state(rows, 1)
    assert torch.equal(second.q, first.q)
    other = made(kind, 0, 2, {"ranks": [2, 0]})
    other.load_own_state(rows, 0)
    assert torch.equal(other.q, made(kind, 0, 2, {"ranks": [2, 0]}).q)


def test_a_residual_goes_with_either_strategy() -> None:
    left, right = made(*POWERSGD[:1], 0, 1, POWERSGD[1]), made(*TOPK[:1], 0, 1, TOPK[1])
    left.residual.copy_(torch.arange(2440.0))
    right.load_own_state({key: tensor.unsqueeze(0) for key, tensor in left.own_state().items()}, 0)
    assert torch.equal(right.residual, left.residual)


@pytest.mark.parametrize("config", [powersgd.Config(), topk.Config()])
def test_one_process_has_nothing_to_compress(config) -> None:
    from hvdtrain.sync import wrap

    p = torch.nn.Parameter(torch.ones(64, 64))
    strategy = wrap(
        config, torch.optim.SGD([p], lr=1.0), named_parameters=[("p", p)], backward_passes_per_step=1, world=Solo()
    )
    assert strategy.bytes_per_step == 0
    assert not strategy.own_state()


@pytest.mark.parametrize(
    ("config", "field"),
    [
        (topk.Config, {"density": 0}),
        (topk.Config, {"density": 1.5}),
        (powersgd.Config, {"rank": 0}),
        (powersgd.Config, {"start_step": -1}),
    ],
)
def test_what_makes_no_sense_is_refused(config, field) -> None:
    with pytest.raises(ValidationError, match=next(iter(field))):
        config(**field)
