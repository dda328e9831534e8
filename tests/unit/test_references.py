"""References of benchmarks/: the recipe's own parts, fitted to training alone; bigrams that are a distribution."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import character_bigrams as bigrams
import numpy as np
import pytest
import references

from hvdtrain.data.parts import make_parts
from hvdtrain.data.prepare import prepare
from hvdtrain.data.sources import sp500, teacher


def codes(text: str) -> np.ndarray:
    return np.array([ord(character) for character in text], dtype=np.int64)


def kneser_ney(text: str, before: str, after: str, discount: float) -> float:
    """The formula in words, one probability at a time."""
    pairs = Counter(pairwise(text))
    followed = sum(count for (first, _), count in pairs.items() if first == before)
    followers = sum(first == before for first, _ in pairs)
    preceders = sum(second == after for _, second in pairs)
    known = len({second for _, second in pairs})
    q = max(preceders - discount, 0) / len(pairs) + discount * known / len(pairs) / (0x110000 - 2048)
    if not followed:
        return q
    return max(pairs[before, after] - discount, 0) / followed + discount * followers / followed * q


def test_bigrams_are_the_formula() -> None:
    text = "abracadabra, alakazam"
    model = bigrams.KneserNey(codes(text), 0.75)
    for before, after in [("a", "b"), ("b", "r"), ("a", "z"), ("a", "x"), ("x", "a"), ("x", "x"), ("m", "a")]:
        found = model.probabilities(codes(before), codes(after))
        assert found[0] == pytest.approx(kneser_ney(text, before, after, 0.75), rel=1e-12)
    wanted = -sum(math.log2(kneser_ney(text, *pair, 0.75)) for pair in pairwise("abrakadabra"))
    assert model.bits(codes("abrakadabra")) == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("before", ["a", "m", "x"])
def test_bigrams_share_out_a_probability_of_one(before: str) -> None:
    everything = np.array([code for code in range(0x110000) if not 0xD800 <= code < 0xE000])
    model = bigrams.KneserNey(codes("abracadabra, alakazam"), 0.6)
    p = model.probabilities(np.full(len(everything), ord(before)), everything)
    assert p.min() > 0
    assert p.sum() == pytest.approx(1, abs=1e-9)


def test_samples_are_those_of_the_recipe() -> None:
    config = teacher.Config(val_fraction=0.2, test_fraction=0.3)
    samples, part = references.samples_of(config, None, 7)
    prepared = prepare(config, None, 7, "examples")
    assert part == "test"
    assert prepared.test is not None
    for dataset, rows, targets in (
        (prepared.train, samples.train_inputs, samples.train_targets),
        (prepared.test, samples.test_inputs, samples.test_targets),
    ):
        batch = dataset.batch(np.arange(len(dataset)))
        np.testing.assert_array_equal(batch["inputs"].numpy(), prepared.encoder.encode(list(rows))["inputs"])
        np.testing.assert_array_equal(batch["targets"].numpy(), targets)


def test_other_parts_than_the_recipes_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(references, "make_parts", lambda *arguments: make_parts(*arguments[:-1], seed=8))
    with pytest.raises(AssertionError):
        references.samples_of(teacher.Config(), None, 7)


def days(seed: int = 0) -> references.Samples:
    source = np.random.default_rng(seed)
    close = 1000 * np.exp(np.cumsum(0.01 * source.normal(size=400)))
    swing = np.exp(0.5 * source.normal(size=(2, 400)) - 5)
    names, rows, targets = sp500.table(np.column_stack([close * (1 + swing[0]), close * (1 - swing[1]), close]), 5)
    return references.Samples(rows[:300], targets[:300], rows[300:], targets[300:], names)


def test_har_knows_the_training_days_alone() -> None:
    """HAR is least squares of three terms; what it says of a day does not change with the days that are tested."""
    samples = days()
    terms = [samples.feature_names.index(n) for n in ("log range 0 days ago", "weekly average", "monthly average")]
    train, test = (
        np.column_stack([np.ones(len(rows)), rows[:, terms]]) for rows in (samples.train_inputs, samples.test_inputs)
    )
    weights = np.linalg.solve(train.T @ train, train.T @ samples.train_targets)
    wanted = samples.test_targets
    r2 = 1 - np.sum((wanted - test @ weights) ** 2) / np.sum((wanted - wanted.mean()) ** 2)
    found = references.mlp_sp500(samples)["r2"]
    assert found["HAR"] == pytest.approx(r2, rel=1e-9)
    last = samples.test_inputs[:, terms[0]]
    assert found["last value"] == pytest.approx(
        1 - np.sum((wanted - last) ** 2) / np.sum((wanted - wanted.mean()) ** 2), rel=1e-9
    )


@pytest.mark.parametrize("reference", [references.mlp_sp500, references.mlp_regression])
def test_what_is_chosen_does_not_depend_on_what_is_held_out(
    reference: references.Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted = []
    score = references.score
    monkeypatch.setattr(references, "score", lambda model, data: fitted.append(model) or score(model, data))
    samples = days()
    reference(samples)
    reference(replace(samples, test_inputs=samples.test_inputs[::-1] * 2, test_targets=samples.test_targets + 5))
    first, second = (model[-1] for model in fitted)
    assert first.alpha == second.alpha
    np.testing.assert_array_equal(first.coef_, second.coef_)
