"""A character bigram model with Kneser-Ney smoothing: what knowing one character tells of the next.

The interpolated model of Chen and Goodman (1999, "An empirical study of smoothing techniques for language modeling",
section 2.7) of order two, its unigrams interpolated with a uniform distribution over all of Unicode, so that it gives
every text a probability, as a model of bytes or of byte pairs does:

    p(c | h) = (n(h c) - D) / n(h) + D N(h *) / n(h) * q(c)        q(c) = (N(* c) - D) / N(* *) + D N(*) / N(* *) / U

n counts, N counts different ones: N(h *) characters that follow h, N(* c) characters that precede c, N(* *) pairs, N(*)
characters; a count less D is no less than 0. The end of a text is a character like others, and precedes the next text.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hvdtrain.data.prepared import Dataset, PreparedData

UNICODE = 0x110000 - 0x800  # its code points, less the surrogates
END = 0x10FFFF  # stands for the end of a text; no character
DISCOUNTS = [0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95]
TUNING = 0.1


@dataclass(frozen=True)
class Bigrams:
    """Bits a character, the ends of texts among what is predicted but not among the characters; `fitted_to` and
    `measured_on` count characters."""

    bits: float
    discount: float
    fitted_to: int
    measured_on: int


class KneserNey:
    """The model of a text (N,) of code points."""

    def __init__(self, text: np.ndarray, discount: float) -> None:
        self._discount = discount
        self._pairs, counts = np.unique(_pairs(text), return_counts=True)
        self._counts = counts.astype(np.float64)
        before, after = self._pairs >> 32, self._pairs & 0xFFFFFFFF
        self._followed = _counted(before, self._counts)  # n(h)
        self._followers = _counted(before, np.ones(len(before)))  # N(h *)
        self._preceders = _counted(after, np.ones(len(after)))  # N(* c)
        self._characters = len(np.unique(after))

    def probabilities(self, before: np.ndarray, after: np.ndarray) -> np.ndarray:
        """Return p(after | before) of code points, (N,) each; a character never seen before any has q alone."""
        discount, pairs = self._discount, len(self._pairs)
        q = np.maximum(self._preceders[after] - discount, 0) / pairs + discount * self._characters / pairs / UNICODE
        wanted = (before.astype(np.int64) << 32) | after
        place = np.minimum(np.searchsorted(self._pairs, wanted), pairs - 1)
        count = np.where(self._pairs[place] == wanted, self._counts[place], 0.0)
        seen = self._followed[before]
        total = np.maximum(seen, 1)
        p: np.ndarray = np.maximum(count - discount, 0) / total + discount * self._followers[before] / total * q
        return np.where(seen > 0, p, q)

    def bits(self, text: np.ndarray) -> float:
        """Return the bits that the text takes, its first character being given."""
        return float(-np.log2(self.probabilities(text[:-1], text[1:])).sum())


def bits_per_character(data: PreparedData) -> Bigrams:
    """Return what the model fitted to the training part takes for the validation part.

    The discount is the best of some for the last tenth of the training part, the model fitted to the rest.
    """
    train, held_out = (_text(part, data) for part in (data.train, data.val))
    cut = round(len(train) * (1 - TUNING))
    tried = {discount: KneserNey(train[:cut], discount).bits(train[cut:]) for discount in DISCOUNTS}
    best = min(tried, key=lambda discount: tried[discount])
    characters = int((held_out[1:] != END).sum())
    bits = KneserNey(train, best).bits(held_out) / characters
    return Bigrams(bits, best, int((train != END).sum()), characters)


def _text(part: Dataset, data: PreparedData) -> np.ndarray:
    """Return the code points of a part; its first token is no target, and stands as the end of a text before it."""
    tokenizer = data.encoder.tokenizer
    assert tokenizer is not None
    targets = np.concatenate([part.batch(np.array([row]))["targets"].numpy().ravel() for row in range(len(part))])
    ids = targets[targets >= 0]
    ends = np.flatnonzero(ids == tokenizer.eos_id)
    texts = [tokenizer.decode(piece[piece != tokenizer.eos_id].tolist()) for piece in np.split(ids, ends)]
    return np.array([END, *(ord(c) for c in chr(END).join(texts))], dtype=np.int64)


def _pairs(text: np.ndarray) -> np.ndarray:
    return (text[:-1].astype(np.int64) << 32) | text[1:]


def _counted(characters: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the sum of the weights of each code point: (0x110000,)."""
    return np.bincount(characters, weights=weights, minlength=0x110000)
