"""How good generated images are, as a classifier of the real ones sees them, from sums that any number of workers add.

Both scores were defined with the Inception network on ImageNet; with another classifier their values compare only with
each other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from hvdtrain.errors import RecipeError

_MOST_FEATURES = 2048
"""As many as Inception's; the sums of their products are matrices of that size."""


class Scorer:
    """Sums over images of what a classifier says of them: its probabilities, and its features, which are what its last
    linear layer reads (its logits where it has none).

    Args:
        classifier: gives logits (B, classes); in evaluation mode.
        encode: makes the classifier's inputs of pixels (B, C, H, W) uint8.
    """

    def __init__(self, classifier: nn.Module, encode: Callable[[Tensor], Tensor]) -> None:
        self._classifier = classifier
        self._encode = encode
        self._read: Tensor | None = None
        for module in classifier.modules():
            if isinstance(module, nn.Linear):
                module.register_forward_pre_hook(self._keep)

    def to(self, device: torch.device) -> None:
        """Move the classifier."""
        self._classifier.to(device)

    def sums(self, name: str, pixels: Tensor, numbers: Tensor) -> dict[str, Tensor]:
        """Return sums over images, float64, for `inception_score` and `distance`.

        Args:
            name: of this set of images; begins the names of the sums.
            pixels: (B, C, H, W) uint8.
            numbers: (B,) int64, what decides which half of its set an image belongs to.

        Raises:
            RecipeError: the classifier has more features than their products fit into memory.
        """
        logits, features = self._look(pixels)
        log_probabilities = logits.log_softmax(-1)
        probabilities = log_probabilities.exp()
        halves = torch.stack([half(numbers) == 0, half(numbers) == 1]).to(features.dtype)  # (2, B)
        split = halves.unsqueeze(-1) * features  # (2, B, F)
        return {
            f"{name}_probabilities": probabilities.sum(0),
            f"{name}_negative_entropy": (probabilities * log_probabilities).sum(),
            f"{name}_counts": halves.sum(1),
            f"{name}_features": split.sum(1),
            f"{name}_products": split.transpose(1, 2) @ features,
        }

    def _look(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (B, classes) and features (B, F), in float64 as sums of products need."""
        with torch.autocast(pixels.device.type, enabled=False):
            logits: Tensor = self._classifier(self._encode(pixels))
        read, self._read = self._read, None
        features = logits if read is None else read.flatten(1)
        if features.shape[1] > _MOST_FEATURES:
            raise RecipeError(
                f"task.classifier: its last linear layer reads {features.shape[1]} features, and a Frechet distance "
                f"takes at most {_MOST_FEATURES}; take a classifier with a smaller layer before its last"
            )
        return logits.double(), features.double()

    def _keep(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        """Called before each linear layer: the last one's stays."""
        self._read = inputs[0]


def half(numbers: Tensor) -> Tensor:
    """Return 0 or 1 for each number: about as many of both, also where only every k-th sample is looked at."""
    return (numbers * 0x9E3779B1 >> 31) & 1  # the fraction of number x golden ratio: Knuth 1998, section 6.4


def inception_score(totals: Mapping[str, Tensor], name: str) -> float:
    """Return exp of the mean over images of KL(p(class | image) || p(class)), from 1 to the number of classes
    (Salimans et al. 2016, https://arxiv.org/abs/1606.03498, section 4): the more, the surer and the more varied.

    p(class) is the mean over the same images, all of one split.
    """
    count = float(totals[f"{name}_counts"].sum())
    if not count:
        return math.nan
    marginal = totals[f"{name}_probabilities"] / count
    mean = float(totals[f"{name}_negative_entropy"]) / count
    return math.exp(mean - float(torch.xlogy(marginal, marginal).sum()))


def distance(totals: Mapping[str, Tensor], first: str, half_of_first: int, second: str, half_of_second: int) -> float:
    """Return the Frechet distance between the features of two halves, which is 0 for equal distributions; infinite
    where one of them has fewer than two images, which have no covariance."""
    moments = [_moments(totals, first, half_of_first), _moments(totals, second, half_of_second)]
    return math.inf if None in moments else frechet_distance(*moments[0], *moments[1])  # type: ignore[misc]


def frechet_distance(mean_a: Tensor, covariance_a: Tensor, mean_b: Tensor, covariance_b: Tensor) -> float:
    """Return |m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)) for means (F,) and covariances (F, F), float64
    (Heusel et al. 2017, https://arxiv.org/abs/1706.08500, section 2; Dowson and Landau 1982).

    The trace of the root is the sum of the roots of the eigenvalues of C_a C_b, which are those of the symmetric
    C_a^(1/2) C_b C_a^(1/2): so no root of an unsymmetric matrix is needed, which may come out complex.
    """
    values, vectors = torch.linalg.eigh(covariance_a)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    shared = torch.linalg.eigvalsh(root @ covariance_b @ root).clamp(min=0).sqrt().sum()
    apart = (mean_a - mean_b).square().sum() + covariance_a.trace() + covariance_b.trace() - 2.0 * shared
    return max(0.0, float(apart))  # rounding can make it negative


def _moments(totals: Mapping[str, Tensor], name: str, which: int) -> tuple[Tensor, Tensor] | None:
    """Return mean (F,) and covariance (F, F) of one half, unbiased as in the score's first implementation."""
    count = float(totals[f"{name}_counts"][which])
    if count < 2:
        return None
    mean = totals[f"{name}_features"][which] / count
    products = totals[f"{name}_products"][which]
    return mean, (products - count * torch.outer(mean, mean)) / (count - 1)
