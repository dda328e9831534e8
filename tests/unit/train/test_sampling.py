"""Drawing one token, held against slow loops over Python numbers."""

import math
from collections import Counter

import pytest
import torch

from hvdtrain.errors import NonFiniteError
from hvdtrain.train.generation import sample_next


def probabilities(logits: list[float], temperature: float, top_k: int | None, top_p: float | None) -> dict[int, float]:
    """The distribution over token ids, by loops over Python numbers."""
    order = sorted(range(len(logits)), key=lambda i: (-logits[i], i))
    if top_k is not None:
        order = order[:top_k]
    weights = {i: math.exp(logits[i] / temperature) for i in order}
    if top_p is not None:
        whole, kept, mass = sum(weights.values()), {}, 0.0
        for i in order:
            kept[i] = weights[i]
            mass += weights[i] / whole
            if mass >= top_p:
                break
        weights = kept
    whole = sum(weights.values())
    return {i: weight / whole for i, weight in weights.items()}


SAMPLINGS = [
    (1.0, None, None),
    (0.5, None, None),
    (2.0, 5, None),
    (1.0, 1, None),
    (1.0, 100, None),
    (0.7, None, 0.8),
    (1.0, None, 0.05),
    (1.0, None, 1.0),
    (1.3, 6, 0.7),
    (0.9, 3, 0.95),
]


@pytest.mark.parametrize(("temperature", "top_k", "top_p"), SAMPLINGS)
def test_draws_follow_the_slow_loops_distribution(temperature: float, top_k: int | None, top_p: float | None) -> None:
    logits = torch.randn(12, generator=torch.Generator().manual_seed(3)) * 2
    logits[4] = logits[7]  # a tie
    expected = probabilities(logits.double().tolist(), temperature, top_k, top_p)
    generator, draws = torch.Generator().manual_seed(11), 4000
    counts = Counter(
        sample_next(logits, temperature=temperature, top_k=top_k, top_p=top_p, generator=generator)
        for _ in range(draws)
    )
    assert set(counts) <= set(expected)
    for token, p in expected.items():
        # 5 standard deviations of a binomial count, and a seed that stays the same
        assert abs(counts[token] - draws * p) <= 5 * math.sqrt(draws * p * (1 - p)) + 1e-9, token


def test_top_p_keeps_the_fewest_tokens_that_reach_it() -> None:
    logits = torch.tensor([0.1, 0.5, 0.15, 0.25]).log()  # the cumulated sums are 0.5, 0.75, 0.9, 1

    def kept(top_p: float) -> set[int]:
        generator = torch.Generator().manual_seed(0)
        return {sample_next(logits, top_p=top_p, generator=generator) for _ in range(300)}

    assert kept(0.3) == {1}
    assert kept(0.51) == {1, 3}
    assert kept(0.74) == {1, 3}
    assert kept(0.76) == {1, 3, 2}
    assert kept(0.91) == {0, 1, 2, 3}


def test_top_p_counts_what_top_k_left() -> None:
    logits = torch.tensor([0.4, 0.3, 0.2, 0.1]).log()  # of the first two alone: 4/7 and 3/7
    generator = torch.Generator().manual_seed(0)
    assert {sample_next(logits, top_k=2, top_p=0.55, generator=generator) for _ in range(200)} == {0}


def test_temperature_zero_takes_the_first_of_the_largest_and_draws_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    assert sample_next(torch.tensor([1.0, 3.0, 3.0, -1.0]), temperature=0, generator=generator) == 1
    assert torch.equal(generator.get_state(), before)


def test_a_tiny_temperature_is_no_division_of_infinities() -> None:
    generator = torch.Generator().manual_seed(0)
    assert sample_next(torch.tensor([1.0, 3e38, -3e38]), temperature=1e-300, generator=generator) == 1


def test_bf16_logits_and_masked_tokens_are_fine() -> None:
    logits = torch.tensor([-math.inf, 0.0, -math.inf, 0.0], dtype=torch.bfloat16)
    generator = torch.Generator().manual_seed(0)
    assert {sample_next(logits, generator=generator) for _ in range(50)} == {1, 3}


@pytest.mark.parametrize("bad", [[0.0, math.nan, 1.0], [0.0, math.inf], [-math.inf, -math.inf]])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_that_are_not_finite_are_an_error(bad: list[float], temperature: float) -> None:
    with pytest.raises(NonFiniteError, match="weights are damaged"):
        sample_next(torch.tensor(bad), temperature=temperature, generator=torch.Generator())
