"""What a dictionary that was learnt from the same verses reaches where every word is translated by itself.

    python benchmarks/translation_baseline.py           the parts of recipes/translation-en-es.yaml

The dictionary is IBM Model 1 (Brown et al. 1993, "The mathematics of statistical machine translation", section 4.2),
fitted by EM to the training verses of the recipe: t(f | e) is the probability that the English word e, or the empty
word, gives the Spanish word f. Each English word of a test verse is replaced by its most probable Spanish one, and a
word that training has not seen stays as it is. Verses are scored with sacrebleu, as `hvdtrain evaluate` scores the
recipe's; where `data.max_seq_len` cuts the recipe's references, these stay whole, and the result says how many they
are. It goes to benchmarks/results/translation_baseline.json.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import sacrebleu

from hvdtrain.data.parts import make_parts
from hvdtrain.data.prepare import prepare
from hvdtrain.recipe import load
from hvdtrain.registry import find
from hvdtrain.report.environment import processor

RESULTS = Path(__file__).parent / "results" / "translation_baseline.json"
RECIPE = "translation-en-es"
NAME = "word by word, IBM Model 1"
ITERATIONS = 10
SENTENCES_AT_ONCE = 2000
EMPTY = ""
"""The word that gives Spanish words which no English one gives; no translation is asked of it."""

_WORD = re.compile(r"\w+(?:['’]\w+)*|[^\w\s]")
_NO_SPACE_BEFORE = re.compile(r"\s+([.,;:!?)\]»])")
_NO_SPACE_AFTER = re.compile(r"([¿¡(\[«])\s+")


@dataclass(frozen=True)
class Verses:
    """Texts in the recipe's parts: those to learn from, and those to be translated."""

    train_english: list[str]
    train_spanish: list[str]
    test_english: list[str]
    test_spanish: list[str]
    part: str
    cut: int
    """References of those to be translated that are shorter where the recipe is scored, cut at `data.max_seq_len`."""


def verses_of(name: str) -> Verses:
    """Return the verses of a recipe, its parts held against what the recipe itself is given."""
    recipe = load(name).recipe
    data: Any = recipe.data
    examples = find("data", data.name).examples(data)
    parts = make_parts(examples, data.name, data.val_fraction, data.test_fraction, recipe.seed)
    part, held_out = ("validation", parts.val) if parts.test is None else ("test", parts.test)
    prepared = prepare(data, recipe.tokenizer, recipe.seed, "examples")
    english, spanish = ([str(text) for text in texts] for texts in (examples.inputs, examples.targets))
    tokenizer = prepared.encoder.tokenizer
    assert tokenizer is not None, "texts have a tokenizer"
    for dataset, rows in ((prepared.train, parts.train), (prepared.test or prepared.val, held_out)):
        given = dataset.batch(np.arange(len(dataset)))["targets"].tolist()
        cut = 0
        for row, ids in zip(rows.tolist(), given, strict=True):
            text = tokenizer.decode(token for token in ids if token >= 0)
            cut += text != spanish[row]
            if not spanish[row].startswith(text.rstrip("\N{REPLACEMENT CHARACTER}")):
                raise RuntimeError(f"the recipe has another verse in the place of {spanish[row]}")
    train, test = parts.train.tolist(), held_out.tolist()
    return Verses(
        [english[row] for row in train],
        [spanish[row] for row in train],
        [english[row] for row in test],
        [spanish[row] for row in test],
        part,
        cut,
    )


class Vocabulary:
    """Words and their numbers."""

    def __init__(self, words: Iterable[str]) -> None:
        self.words = list(dict.fromkeys(words))
        self.numbers = {word: number for number, word in enumerate(self.words)}

    def encode(self, words: Sequence[str]) -> np.ndarray:
        return np.array([self.numbers[word] for word in words], dtype=np.int64)


class Model1:
    """t(f | e) of the pairs of words that occur in one sentence pair; all begin as likely as each other.

    The possible pairs of a sentence are all e, the empty word among them, for its first f, then for its second, ...
    """

    def __init__(self, english: Sequence[Sequence[str]], spanish: Sequence[Sequence[str]]) -> None:
        self.source = Vocabulary([EMPTY, *(word for words in english for word in words)])
        self.target = Vocabulary(word for words in spanish for word in words)
        keys, self._choices = [], []
        for begin in range(0, len(english), SENTENCES_AT_ONCE):
            block, choices = [], []
            for left, right in zip(
                english[begin : begin + SENTENCES_AT_ONCE], spanish[begin : begin + SENTENCES_AT_ONCE], strict=True
            ):
                e, f = self.source.encode([EMPTY, *left]), self.target.encode(right)
                block.append((e[None] * len(self.target.words) + f[:, None]).ravel())
                choices.append(np.full(len(f), len(e)))
            keys.append(np.concatenate(block))
            self._choices.append(np.concatenate(choices))
        pairs = np.unique(np.concatenate([np.unique(block) for block in keys]))
        self._pairs = [np.searchsorted(pairs, block).astype(np.int32) for block in keys]
        self.e, self.f = np.divmod(pairs, len(self.target.words))
        self.t = np.full(len(pairs), 1.0 / len(self.target.words))

    def iterate(self) -> float:
        """Do one step of EM; return the mean log2 likelihood of a Spanish word before it, lengths being given."""
        counts, bits, words = np.zeros(len(self.t)), 0.0, 0
        for pairs, choices in zip(self._pairs, self._choices, strict=True):
            each = self.t[pairs]
            whole = np.add.reduceat(each, np.cumsum(choices) - choices)
            counts += np.bincount(pairs, each / np.repeat(whole, choices), len(self.t))
            bits += float(np.log2(whole / choices).sum())
            words += len(whole)
        self.t = counts / np.bincount(self.e, counts)[self.e]
        return bits / words

    def dictionary(self) -> dict[str, str]:
        """Return the most probable Spanish word of each English one."""
        order = np.lexsort((-self.t, self.e))
        first = order[np.unique(self.e[order], return_index=True)[1]]
        pairs = zip(self.e[first].tolist(), self.f[first].tolist(), strict=True)
        return {self.source.words[e]: self.target.words[f] for e, f in pairs}


def words_of(text: str) -> list[str]:
    """Return words and punctuation marks, in lower case."""
    return _WORD.findall(text.lower())


def joined(words: Iterable[str]) -> str:
    """Return the text of words and punctuation marks; it, and each of its sentences, begins with a capital."""
    text = _NO_SPACE_AFTER.sub(r"\1", _NO_SPACE_BEFORE.sub(r"\1", " ".join(words)))
    return re.sub(r"(^\W*|[.!?]\W+)(\w)", lambda found: found[1] + found[2].upper(), text)


def usual_case(texts: Iterable[str]) -> dict[str, str]:
    """Return how each word is most often written where no sentence begins."""
    counts: dict[str, dict[str, int]] = {}
    for text in texts:
        found = _WORD.findall(text)
        for before, word in itertools.pairwise(found):
            if before not in ".!?¿¡":
                forms = counts.setdefault(word.lower(), {})
                forms[word] = forms.get(word, 0) + 1
    return {word: max(forms, key=lambda form: forms[form]) for word, forms in counts.items()}


def translate(texts: Iterable[str], dictionary: dict[str, str], case: dict[str, str]) -> list[str]:
    """Return the texts, each word replaced by its translation, or as it was where it has none."""
    return [
        joined(
            case.get(found, found) if (found := dictionary.get(word.lower())) else word for word in _WORD.findall(text)
        )
        for text in texts
    ]


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    began = time.perf_counter()
    verses = verses_of(RECIPE)
    model = Model1([words_of(t) for t in verses.train_english], [words_of(t) for t in verses.train_spanish])
    for iteration in range(ITERATIONS):
        print(f"iteration {iteration + 1}: {model.iterate():.3f} log2 likelihood of a word before it")
    said = translate(verses.test_english, model.dictionary(), usual_case(verses.train_spanish))
    bleu, chrf = sacrebleu.BLEU(), sacrebleu.CHRF()
    marks = {
        name: metric.corpus_score(said, [verses.test_spanish]).score
        for name, metric in (("bleu", bleu), ("chrf", chrf))
    }
    found = {
        "date": date.today().isoformat(),
        "command": "python benchmarks/translation_baseline.py",
        "hardware": f"{len(os.sched_getaffinity(0))} cores of {processor()}",
        "versions": {package: version(package) for package in ("hvdtrain", "sacrebleu", "numpy")},
        "seconds": round(time.perf_counter() - began, 1),
        "part": verses.part,
        "fitted_to": len(verses.train_english),
        "measured_on": len(verses.test_english),
        "references_cut_for_the_recipe": verses.cut,
        "references": {name: {NAME: mark} for name, mark in marks.items()},
        "signatures": {"bleu": str(bleu.get_signature()), "chrf": str(chrf.get_signature())},
    }
    RESULTS.write_text(json.dumps({RECIPE: found}, indent=1, ensure_ascii=False) + "\n")
    for english, spanish, translation in zip(verses.test_english[:3], verses.test_spanish, said, strict=False):
        print(f"\nsource       {english}\nreference    {spanish}\ntranslation  {translation}")
    print(f"\nBLEU {marks['bleu']:.2f}, chrF {marks['chrf']:.2f}, {found['seconds']} s, {RESULTS}")


if __name__ == "__main__":
    main()
