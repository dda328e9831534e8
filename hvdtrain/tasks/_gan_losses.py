"""Adversarial losses, of logits that are the larger the more real an image looks; each gives one number a sample."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import softplus


@dataclass(frozen=True)
class AdversarialLoss:
    """What the two networks minimise.

    Attributes:
        discriminator: (logits of real images (B,), logits of fake ones (B,), label smoothing) -> (B,).
        generator: logits of fake images (B,) -> (B,).
        boundary: the logit above which the discriminator takes an image for a real one.
    """

    discriminator: Callable[[Tensor, Tensor, float], Tensor]
    generator: Callable[[Tensor], Tensor]
    boundary: float


def _cross_entropy(on_real: Tensor, on_fake: Tensor, smoothing: float) -> Tensor:
    """-log D(x) - log(1 - D(G(z))), D being the sigmoid of the logit; with smoothing s the first term becomes
    -(1 - s) log D(x) - s log(1 - D(x)). softplus(-l) is -log sigmoid(l), and never infinite."""
    return (1 - smoothing) * softplus(-on_real) + smoothing * softplus(on_real) + softplus(on_fake)


def _hinge(on_real: Tensor, on_fake: Tensor, smoothing: float) -> Tensor:
    return (1.0 - on_real).relu() + (1.0 + on_fake).relu()


def _squares(on_real: Tensor, on_fake: Tensor, smoothing: float) -> Tensor:
    """Real images should get 1 - s and fake ones 0."""
    return 0.5 * (on_real - (1 - smoothing)).square() + 0.5 * on_fake.square()


LOSSES = {
    "non_saturating": AdversarialLoss(_cross_entropy, lambda on_fake: softplus(-on_fake), 0.0),
    "hinge": AdversarialLoss(_hinge, lambda on_fake: -on_fake, 0.0),
    "least_squares": AdversarialLoss(_squares, lambda on_fake: 0.5 * (on_fake - 1.0).square(), 0.5),
}
"""By their names in a recipe; see `tasks/gan.py` for the papers."""
