"""The losses of a GAN against their papers' formulas."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError

from hvdtrain.tasks._gan_losses import LOSSES
from hvdtrain.tasks.gan import Config

REAL = torch.tensor([-2.0, 0.3, 1.5, 4.0])
FAKE = torch.tensor([1.0, -0.7, 0.6, -3.0])


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_non_saturating_loss_is_goodfellows(smoothing: float) -> None:
    loss = LOSSES["non_saturating"]
    keep = 1 - smoothing
    expected = [
        -keep * math.log(sigmoid(r)) - smoothing * math.log(1 - sigmoid(r)) - math.log(1 - sigmoid(f))
        for r, f in zip(REAL.tolist(), FAKE.tolist(), strict=True)
    ]
    torch.testing.assert_close(loss.discriminator(REAL, FAKE, smoothing), torch.tensor(expected))
    torch.testing.assert_close(loss.generator(FAKE), torch.tensor([-math.log(sigmoid(f)) for f in FAKE.tolist()]))
    far = torch.tensor([300.0])
    assert loss.discriminator(-far, far, 0.0).item() == 600, "no logarithm of zero"


def test_hinge_loss_is_lim_and_yes() -> None:
    loss = LOSSES["hinge"]
    expected = [max(0, 1 - r) + max(0, 1 + f) for r, f in zip(REAL.tolist(), FAKE.tolist(), strict=True)]
    torch.testing.assert_close(loss.discriminator(REAL, FAKE, 0.0), torch.tensor(expected))
    torch.testing.assert_close(loss.generator(FAKE), -FAKE)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_least_squares_loss_is_maos(smoothing: float) -> None:
    loss = LOSSES["least_squares"]
    expected = [
        0.5 * (r - (1 - smoothing)) ** 2 + 0.5 * f**2 for r, f in zip(REAL.tolist(), FAKE.tolist(), strict=True)
    ]
    torch.testing.assert_close(loss.discriminator(REAL, FAKE, smoothing), torch.tensor(expected))
    torch.testing.assert_close(loss.generator(FAKE), torch.tensor([0.5 * (f - 1) ** 2 for f in FAKE.tolist()]))


def test_hinge_has_no_labels_to_smooth() -> None:
    with pytest.raises(ValidationError, match="no labels to smooth"):
        Config(loss="hinge", label_smoothing=0.1)
