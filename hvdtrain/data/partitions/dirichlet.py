"""Classes in unequal shares, drawn from a Dirichlet distribution: to study what unequal data does to training.

After Hsu, Qi and Brown 2019, "Measuring the Effects of Non-Identical Data Distribution for Federated Visual
Classification" (arXiv:1909.06335, section 3): part k draws shares q_k ~ Dir(alpha p), p being the shares of the classes
in all data, and then equally many samples as every other part, their classes by q_k, without replacement. A class that
is used up is struck out and the rest of q_k scaled up. As alpha grows, every part becomes like the whole; as it
approaches 0, a part has one class only, as far as that class lasts.

The parts draw in turns, one sample each, where the paper's code fills one part after the other: otherwise the last
parts get what is left, whatever their q says. In the end every sample is in exactly one part.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from hvdtrain.data.partitions._partition import Parts, PartsConfig, count_parts, labels_of

if TYPE_CHECKING:
    import numpy as np

    from hvdtrain.data.prepared import Dataset

_DRAWS = 0x64697269
"""Keeps these random numbers apart from those of the epochs."""


class Config(PartsConfig):
    """Unequal shares of the classes; depends on the number of workers, unless `parts` is set. Needs data with classes.

    `alpha` is how alike the parts are: with 0.1 a part has a few classes only, 1 is uneven, 100 nearly like the whole.
    """

    name: Literal["dirichlet"] = "dirichlet"
    alpha: float = Field(1.0, gt=0.0)


def build(config: Config, dataset: Dataset, seed: int, workers: int) -> Parts:
    """Return parts whose sizes differ by one at most, a function of labels, alpha, the seed and the number of parts.

    Raises:
        RecipeError: `parts` is no multiple of the workers.
        DataError: the samples have no classes, or there are fewer samples than parts.
    """
    import numpy as np

    from hvdtrain.data.ordering import permutation

    parts = count_parts(config, dataset, workers)
    labels = labels_of(dataset, config.name)
    counts = np.bincount(labels)
    # NumPy changes nothing about RandomState any more: equal numbers with every version.
    source = np.random.RandomState(np.random.MT19937(np.random.SeedSequence((seed, parts, _DRAWS))))
    shares = _draw_shares(source, config.alpha * counts / counts.sum(), parts)
    drawn = _draw_classes(shares, counts.tolist(), source.random_sample(len(labels)).tolist())
    order = permutation(len(labels), seed, _DRAWS)
    samples = order[np.argsort(labels[order], kind="stable")]
    turn = np.argsort(drawn, kind="stable") % parts  # of the k-th sample, sorted by class, whose turn it was
    return Parts(tuple(np.sort(samples[turn == part]) for part in range(parts)), seed)


def _draw_shares(source: np.random.RandomState, concentration: np.ndarray, parts: int) -> np.ndarray:
    """Return draws from a Dirichlet distribution: (parts, C).

    Through gamma variates, by their logarithms, as those of a small concentration are below the smallest float: with g
    ~ Gamma(a + 1) and uniform u, g u^(1/a) ~ Gamma(a) (Marsaglia and Tsang 2000, section 6).
    """
    import numpy as np

    shape = (parts, len(concentration))
    gammas = np.log(source.standard_gamma(np.broadcast_to(concentration + 1, shape)))
    logs = gammas + np.log1p(-source.random_sample(shape)) / concentration
    weights = np.exp(logs - logs.max(1, keepdims=True))
    shares: np.ndarray = weights / weights.sum(1, keepdims=True)
    return shares


def _draw_classes(shares: np.ndarray, left: list[int], uniform: list[float]) -> list[int]:
    """Return the class of each drawn sample, (N,); draw i is that of part i % parts, by its share of what is left."""
    import numpy as np

    # A share that is 0 in floating point must not keep the last samples of a class from being drawn.
    shares = np.maximum(shares, np.finfo(float).tiny)
    reach = np.cumsum(shares, 1).tolist()
    last = len(left) - 1
    drawn = []
    for turn, number in enumerate(uniform):
        own = reach[turn % len(reach)]
        label = min(bisect_right(own, number * own[-1]), last)  # a product may round up to own[-1]
        drawn.append(label)
        left[label] -= 1
        if not left[label]:
            shares[:, label] = 0
            reach = np.cumsum(shares, 1).tolist()
            last = max((label for label, count in enumerate(left) if count), default=0)
    return drawn
