"""The GAN task itself: noise, losses, what an evaluation sums, images to look at."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from hvdtrain.data.encoders import Encoder, ImageEncoder
from hvdtrain.data.noise import normal
from hvdtrain.errors import RecipeError, UserError
from hvdtrain.models._spec import DataSpec
from hvdtrain.tasks._evaluating import evaluating
from hvdtrain.tasks._gan_losses import LOSSES
from hvdtrain.tasks._generative_scores import Scorer, distance, inception_score
from hvdtrain.tasks._task import Batch, Phase, Shown, Task

if TYPE_CHECKING:
    from hvdtrain.tasks.gan import Config

_FOR_DISCRIMINATOR, _FOR_GENERATOR, _FOR_EVALUATION, _FOR_SHOWING = range(4)
"""Streams of noise: each use of a sample's number has its own."""
_GRID = 10
"""Rows and columns of the images that are shown."""
_AT_ONCE = 250
"""Images that are made in one forward pass where many are asked for."""


class Adversaries(Protocol):
    """What this task needs of a model: submodules `generator` and `discriminator`, and these."""

    z_dim: int

    def __call__(self, noise: Tensor) -> Tensor:
        """Return images (B, C, H, W) in [-1, 1] for noise (B, z_dim)."""

    def judge(self, images: Tensor) -> Tensor:
        """Return logits (B,) for images."""


class GAN(Task):
    """Two phases over the same real images, each with noise of its own.

    A sample's noise is a function of `noise_seed` and the sample's number, so that the fake images of a global batch,
    like the real ones, do not depend on the number of workers.

    Batches hold images less their mean over their standard deviation; the model's lie in [-1, 1], as tanh makes them,
    so that real ones are brought there first.

    In a model with BatchNorm the running statistics of the generator are moved by its forward pass in each phase, those
    of the discriminator by real and by fake images in turn.
    """

    numbered = True
    objective = ("frechet_distance", "min")  # known with a classifier only; without one no checkpoint is the best

    def __init__(self, config: Config, encoder: Encoder) -> None:
        if not isinstance(encoder, ImageEncoder):
            raise RecipeError(f"task.name = gan: makes images, and the data of this recipe are {encoder.kind}")
        self._config = config
        self._loss = LOSSES[config.loss]
        self._normalisation = _Normalisation(encoder)
        self._scorer: Scorer | None = None
        self.spec = DataSpec(image=encoder.shape)
        self.phases = (
            Phase("discriminator", _of("discriminator"), self._discriminator_loss, config.discriminator_lr_factor),
            Phase("generator", _of("generator"), self._generator_loss, config.generator_lr_factor),
        )

    def evaluate(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        adversaries = _adversaries(model)
        real = self._normalisation.to_unit(batch["inputs"])
        fake = adversaries(self._noise(adversaries, batch, _FOR_EVALUATION))
        on_real, on_fake = adversaries.judge(real).float(), adversaries.judge(fake).float()
        sums = {
            "samples": torch.tensor(len(real)),
            "discriminator": self._loss.discriminator(on_real, on_fake, self._config.label_smoothing).sum(),
            "generator": self._loss.generator(on_fake).sum(),
            "real_as_real": (on_real > self._loss.boundary).sum(),
            "fake_as_fake": (on_fake <= self._loss.boundary).sum(),
        }
        if self._scorer is not None:
            sums |= self._scorer.sums("real", _pixels(real), batch["number"])
            sums |= self._scorer.sums("fake", _pixels(fake), batch["number"])
        return sums

    def metrics(self, totals: Mapping[str, Tensor]) -> dict[str, float]:
        """`loss` is the generator's. An accuracy is the share of the real (fake) images that the discriminator takes
        for real (fake) ones.

        With a classifier, also the inception-style score of fakes and of the real images, and two Frechet distances
        between halves of the held-out set, which have the same size and so the same bias: of fakes to real images (the
        mean of two, each half's fakes to the other half's real images), and of real images to real images.
        """
        samples = max(1.0, float(totals["samples"]))
        found = {
            "loss": float(totals["generator"]) / samples,
            "discriminator_loss": float(totals["discriminator"]) / samples,
            "accuracy_real": float(totals["real_as_real"]) / samples,
            "accuracy_fake": float(totals["fake_as_fake"]) / samples,
        }
        if self._scorer is None:
            return found
        return found | {
            "inception_score": inception_score(totals, "fake"),
            "inception_score_real": inception_score(totals, "real"),
            "frechet_distance": (distance(totals, "fake", 0, "real", 1) + distance(totals, "fake", 1, "real", 0)) / 2,
            "frechet_distance_real": distance(totals, "real", 0, "real", 1),
        }

    def sample_images(self, model: nn.Module, count: int, seed: int) -> np.ndarray:
        """Return images of the generator: (count, C, H, W) uint8; the first ones are the same whatever the count."""
        adversaries = _adversaries(model)
        device = next(model.parameters()).device
        made = []
        with evaluating(model):
            for begin in range(0, count, _AT_ONCE):
                numbers = np.arange(begin, min(begin + _AT_ONCE, count))
                noise = torch.from_numpy(normal(seed, _FOR_SHOWING, numbers, adversaries.z_dim))
                made.append(_pixels(adversaries(noise.to(device))).cpu().numpy())
        return np.concatenate(made) if made else np.empty((0, *self.spec.image), np.uint8)  # type: ignore[misc]

    def show(self, model: nn.Module, val: Any, seed: int) -> Shown:
        """Return a grid of images, of the same noise at each evaluation."""
        images = self.sample_images(model, _GRID * _GRID, seed)
        count, channels, height, width = images.shape
        grid = images.reshape(_GRID, _GRID, channels, height, width).transpose(0, 3, 1, 4, 2)
        whole = grid.reshape(_GRID * height, _GRID * width, channels)
        return Shown("", f"{count} images of fixed noise", whole if channels == 3 else whole[..., 0])

    def predict(self, model: nn.Module, batch: Batch) -> list[dict[str, Any]]:
        raise UserError("a GAN predicts nothing of given images: it makes new ones, see samples/ of its run directory")

    @property
    def wants_model(self) -> Path | None:
        return self._config.classifier

    def attach(self, model: nn.Module, encoder: Encoder) -> None:
        """Take the classifier.

        Raises:
            RecipeError: it is none, or one of other images.
        """
        where = f"task.classifier = {self._config.classifier}"
        if not isinstance(encoder, ImageEncoder) or not encoder.class_names:
            raise RecipeError(f"{where}: is no classifier of images; train one first, on the data of this recipe")
        if tuple(encoder.shape) != self.spec.image:
            raise RecipeError(
                f"{where}: classifies images of (channels, height, width) {tuple(encoder.shape)}, and those of this "
                f"recipe are {self.spec.image}"
            )
        self._scorer = Scorer(model, _Normalisation(encoder).of_pixels)

    def to(self, device: torch.device) -> None:
        if self._scorer is not None:
            self._scorer.to(device)

    def _discriminator_loss(self, model: nn.Module, batch: Batch) -> Tensor:
        adversaries = _adversaries(model)
        with torch.no_grad():
            fake = adversaries(self._noise(adversaries, batch, _FOR_DISCRIMINATOR))
        on_real = adversaries.judge(self._normalisation.to_unit(batch["inputs"])).float()
        on_fake = adversaries.judge(fake).float()
        return self._loss.discriminator(on_real, on_fake, self._config.label_smoothing).sum()

    def _generator_loss(self, model: nn.Module, batch: Batch) -> Tensor:
        adversaries = _adversaries(model)
        fake = adversaries(self._noise(adversaries, batch, _FOR_GENERATOR))
        return self._loss.generator(adversaries.judge(fake).float()).sum()

    def _noise(self, adversaries: Adversaries, batch: Batch, stream: int) -> Tensor:
        """Return noise (B, z_dim) for the samples of a batch."""
        numbers = batch["number"]
        noise = normal(self._config.noise_seed, stream, numbers.cpu().numpy(), adversaries.z_dim)
        return torch.from_numpy(noise).to(numbers.device, non_blocking=True)


class _Normalisation:
    """From images as batches hold them to what other networks read, and from pixels to batches."""

    def __init__(self, encoder: ImageEncoder) -> None:
        self._mean, self._std = (
            torch.as_tensor(np.asarray(values), dtype=torch.float32).reshape(-1, 1, 1)
            for values in (encoder.mean, encoder.std)
        )

    def to_unit(self, images: Tensor) -> Tensor:
        """Return images (B, C, H, W) in [-1, 1] for those of a batch."""
        return (images * self._std.to(images.device) + self._mean.to(images.device)) * 2.0 - 1.0

    def of_pixels(self, pixels: Tensor) -> Tensor:
        """Return images as a batch holds them for pixels (B, C, H, W) uint8, as `ImageEncoder.encode` does."""
        return (pixels.float() / 255.0 - self._mean.to(pixels.device)) / self._std.to(pixels.device)


def _pixels(images: Tensor) -> Tensor:
    """Return uint8 for images in [-1, 1]: what a file would hold, and what real images are made of."""
    return ((images.float() + 1.0) * 127.5).round().clamp(0, 255).to(torch.uint8)


def _of(part: str) -> Callable[[str], bool]:
    return lambda name: name.startswith(f"{part}.")


def _adversaries(model: nn.Module) -> Adversaries:
    if not hasattr(model, "generator") or not hasattr(model, "discriminator"):
        raise RecipeError(
            f"task.name = gan: trains a generator and a discriminator, which the model of this recipe "
            f"({type(model).__name__}) does not have; take model: {{name: dcgan}}"
        )
    return model  # type: ignore[return-value]
