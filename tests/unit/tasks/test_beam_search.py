"""Beam search against exhaustive search, greedy choice and cases by hand."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from hvdtrain.tasks._beam_search import Found, beam_search


class Table:
    """Texts whose next token has probabilities that are a function of the source and the tokens before it."""

    def __init__(self, probabilities: Callable[[int, tuple[int, ...]], list[float]], sources: int, beam: int) -> None:
        self._probabilities = probabilities
        self._texts: list[list[tuple[int, ...]]] = [[()] * beam for _ in range(sources)]
        self._sources = list(range(sources))

    def step(self, tokens: Tensor) -> Tensor:
        self._texts = [
            [(*text, token) for text, token in zip(texts, row, strict=True)]
            for texts, row in zip(self._texts, tokens.tolist(), strict=True)
        ]
        rows = [
            [self._probabilities(source, text[1:]) for text in texts]
            for source, texts in zip(self._sources, self._texts, strict=True)
        ]
        return torch.tensor(rows, dtype=torch.float64).log().float() + 7.0  # logits are no log probabilities

    def reorder(self, origins: Tensor) -> None:
        self._texts = [[texts[k] for k in row] for texts, row in zip(self._texts, origins.tolist(), strict=True)]

    def keep(self, sources: Tensor) -> None:
        self._texts = [self._texts[i] for i in sources.tolist()]
        self._sources = [self._sources[i] for i in sources.tolist()]


VOCABULARY, STOP = 4, 2


def drawn(seed: int) -> Callable[[int, tuple[int, ...]], list[float]]:
    """Probabilities drawn by chance."""

    def probabilities(source: int, before: tuple[int, ...]) -> list[float]:
        chance = random.Random(f"{seed} {source} {before}")
        weights = [chance.random() ** 2 + 1e-3 for _ in range(VOCABULARY)]
        return [weight / sum(weights) for weight in weights]

    return probabilities


def search(
    probabilities: Callable[[int, tuple[int, ...]], list[float]], limits: list[int], beam: int, penalty: float = 0.0
) -> list[Found]:
    table = Table(probabilities, len(limits), beam)
    return beam_search(table, torch.tensor(limits), end=STOP, beam_size=beam, length_penalty=penalty)


def all_texts(
    probabilities: Callable[[int, tuple[int, ...]], list[float]], source: int, limit: int
) -> dict[tuple[int, ...], float]:
    """The log probability, its end included, of every text of at most `limit` tokens; at the limit the end is given
    the probability that it has."""
    others = [token for token in range(VOCABULARY) if token != STOP]
    found = {}
    for length in range(limit):
        for text in itertools.product(others, repeat=length):
            steps = [probabilities(source, text[:place])[token] for place, token in enumerate((*text, STOP))]
            found[text] = sum(math.log(p) for p in steps)
    return found


@pytest.mark.parametrize("penalty", [0.0, 0.6, 2.0])
@pytest.mark.parametrize("seed", range(5))
def test_a_beam_as_wide_as_there_are_texts_is_exhaustive_search(seed: int, penalty: float) -> None:
    limits = [4, 1, 3, 4]
    found = search(drawn(seed), limits, 1 + 3 + 9 + 27, penalty)
    for source, (limit, one) in enumerate(zip(limits, found, strict=True)):
        texts = all_texts(drawn(seed), source, limit)
        best = max(texts, key=lambda text: texts[text] / ((5 + len(text) + 1) / 6) ** penalty)
        assert tuple(one.tokens) == best
        assert one.log_probability == pytest.approx(texts[best], rel=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_a_beam_of_one_is_greedy_choice(seed: int) -> None:
    limits = [6, 2, 9]
    for source, one in enumerate(search(drawn(seed), limits, 1)):
        text: list[int] = []
        while len(text) < limits[source] - 1:
            p = drawn(seed)(source, tuple(text))
            if p.index(max(p)) == STOP:
                break
            text.append(p.index(max(p)))
        assert one.tokens == text


def by_hand(_: int, before: tuple[int, ...]) -> list[float]:
    """The likelier first token, 0, has no likely continuation; a text of 0 is likelier than the end at once."""
    first = [0.5, 0.4, 0.05, 0.05]
    after = {(0,): [0.31, 0.29, 0.1, 0.3], (1,): [0.02, 0.02, 0.9, 0.06]}
    return first if not before else after.get(before, [0.05, 0.05, 0.85, 0.05])


def test_two_hypotheses_find_what_one_misses() -> None:
    greedy, beam = search(by_hand, [5], 1)[0], search(by_hand, [5], 2)[0]
    assert greedy.tokens == [0, 0]
    assert greedy.log_probability == pytest.approx(math.log(0.5 * 0.31 * 0.85), rel=1e-5)
    assert beam.tokens == [1]
    assert beam.log_probability == pytest.approx(math.log(0.4 * 0.9), rel=1e-5)


def test_a_hypothesis_that_ends_leaves_its_place_to_another() -> None:
    """The end is likeliest at once, and of what goes on the less likely, 1, has the better text of two tokens."""

    def probabilities(_: int, before: tuple[int, ...]) -> list[float]:
        return {(): [0.35, 0.2, 0.4, 0.05], (0,): [0.25] * 4}.get(before, [0.005, 0.003, 0.99, 0.002])

    assert search(probabilities, [2], 2, 5.0)[0].tokens == [1]


def test_the_length_penalty_is_wus() -> None:
    """Of "end" (p = 0.4, 1 token) and "0 0 end" (p = 0.3, 3 tokens) the longer wins from where
    (8 / 6)^a = log 0.3 / log 0.4."""

    def probabilities(_: int, before: tuple[int, ...]) -> list[float]:
        return {(): [0.6, 0.0, 0.4, 0.0], (0,): [0.5, 0.5, 0.0, 0.0]}.get(before, [0.0, 0.0, 1.0, 0.0])

    turn = math.log(math.log(0.3) / math.log(0.4)) / math.log(8 / 6)
    assert search(probabilities, [3], 3, turn - 0.01)[0].tokens == []
    longer = search(probabilities, [3], 3, turn + 0.01)[0]
    assert longer.tokens in ([0, 0], [0, 1])
    assert longer.log_probability == pytest.approx(math.log(0.3), rel=1e-5), "its log probability, not its score"


@pytest.mark.parametrize("beam", [1, 3])
def test_a_text_ends_at_its_limit_and_the_end_counts(beam: int) -> None:
    def endless(_: int, before: tuple[int, ...]) -> list[float]:
        return [0.997, 0.001, 0.001, 0.001]

    found = search(endless, [1, 3, 6], beam, 20.0)
    assert [one.tokens for one in found] == [[], [0] * 2, [0] * 5]
    expected = [(limit - 1) * math.log(0.997) + math.log(0.001) for limit in (1, 3, 6)]
    assert [one.log_probability for one in found] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("beam", [1, 2, 4])
def test_texts_do_not_depend_on_which_others_are_searched_with_them(beam: int) -> None:
    limits = [7, 3, 5, 7, 2]
    together = search(drawn(11), limits, beam, 0.6)
    for source, limit in enumerate(limits):
        alone = search(lambda _, before, source=source: drawn(11)(source, before), [limit], beam, 0.6)
        assert alone == [together[source]]


def test_nothing_to_search_for_is_nothing_found() -> None:
    assert search(drawn(0), [], 2) == []
