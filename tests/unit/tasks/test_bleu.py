"""BLEU and chrF from summed counts against sacrebleu's of the whole."""

from __future__ import annotations

import random

import pytest
import torch
from torch import Tensor

sacrebleu = pytest.importorskip("sacrebleu")

from hvdtrain.tasks._bleu import CorpusScores  # noqa: E402

LETTERS = "abc deé ñ.,¿?!\"'() 1st 2,000 o'clock — 中文 \t"


def texts(seed: int, count: int) -> tuple[list[str], list[str]]:
    """Translations and references that have some words in common; some are empty, some equal."""
    chance = random.Random(seed)
    words = ["".join(chance.choices(LETTERS, k=chance.randint(1, 5))) for _ in range(12)]
    references = [" ".join(chance.choices(words, k=chance.randint(0, 14))) for _ in range(count)]
    translations = [
        reference if chance.random() < 0.2 else " ".join(w for w in reference.split(" ") if chance.random() < 0.8)
        for reference in references
    ]
    translations[0] = ""
    return translations, references


@pytest.mark.parametrize("workers", [1, 2, 3, 7])
@pytest.mark.parametrize("seed", range(4))
def test_scores_of_summed_shards_equal_sacrebleus_of_the_whole(seed: int, workers: int) -> None:
    translations, references = texts(seed, 40)
    scores = CorpusScores()
    totals: dict[str, Tensor] = {}
    for rank in range(workers):
        for name, counts in scores.sums(translations[rank::workers], references[rank::workers]).items():
            totals[name] = totals.get(name, torch.zeros(())) + counts
    found = scores.metrics(totals)
    assert found["bleu"] == sacrebleu.corpus_bleu(translations, [references], force=True).score
    assert found["chrf"] == sacrebleu.corpus_chrf(translations, [references]).score
    assert 1 < found["bleu"] < 100


@pytest.mark.parametrize(
    ("translations", "references"),
    [(["a b c d e"], ["a b c d e"]), (["x"], ["a b c d"]), ([""], ["a b"]), (["a b"], [""]), (["a"] * 3, ["a b"] * 3)],
)
def test_scores_of_little_text_are_sacrebleus(translations: list[str], references: list[str]) -> None:
    scores = CorpusScores()
    found = scores.metrics(scores.sums(translations, references))
    assert found["bleu"] == sacrebleu.corpus_bleu(translations, [references], force=True).score
    assert found["chrf"] == sacrebleu.corpus_chrf(translations, [references]).score


def test_scores_say_how_they_were_computed() -> None:
    signatures = CorpusScores().signatures
    assert "tok:13a" in signatures["bleu"]
    assert "smooth:exp" in signatures["bleu"]
    assert "nc:6|nw:0" in signatures["chrf"]
