"""What a GAN is judged by: metrics of an evaluation, a classifier's scores, images to look at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hvdtrain.data.encoders import ImageEncoder, TableEncoder
from hvdtrain.errors import RecipeError
from hvdtrain.models import dcgan
from hvdtrain.models._dcgan import DCGAN
from hvdtrain.tasks._gan import GAN
from hvdtrain.tasks._gan_losses import LOSSES
from hvdtrain.tasks._task import Batch
from hvdtrain.tasks.gan import Config, build

SHAPE = (1, 8, 8)
ENCODER = ImageEncoder(shape=SHAPE, mean=np.array([0.25]), std=np.array([0.5]), class_names=("a", "b", "c"))


def task(**values: object) -> GAN:
    return build(Config(**values), ENCODER)


def model(seed: int = 0, **values: object) -> DCGAN:
    torch.manual_seed(seed)
    config = dcgan.Config(**{"z_dim": 5, "width": 8, "n_layers": 2, "init_std": 0.3} | values)
    return dcgan.build(config, task().spec)


def batch(numbers: range | list[int] = range(6)) -> Batch:
    """Images that are a function of their number."""
    images = [
        np.random.default_rng(number).integers(256, size=SHAPE, dtype=np.uint8).astype(np.uint8) for number in numbers
    ]
    inputs = ENCODER.encode(np.array(images, dtype=np.uint8).reshape(-1, *SHAPE))["inputs"]
    return {"inputs": torch.from_numpy(inputs), "number": torch.tensor(list(numbers), dtype=torch.int64)}


def unit(batch: Batch) -> Tensor:
    """The images of a batch as tanh would make them."""
    return (batch["inputs"] * 0.5 + 0.25) * 2 - 1


@pytest.mark.parametrize(("loss", "boundary"), [("non_saturating", 0.0), ("hinge", 0.0), ("least_squares", 0.5)])
def test_metrics_are_means_and_shares_over_all_batches(loss: str, boundary: float) -> None:
    class Known(nn.Module):
        """Judges an image by its mean, and makes dark images."""

        z_dim, generator, discriminator = 5, None, None

        def forward(self, noise: Tensor) -> Tensor:
            return noise[:, :1, None, None].expand(-1, *SHAPE).tanh()

        def judge(self, images: Tensor) -> Tensor:
            return images.mean((1, 2, 3)) * 6

    network, gan = Known(), task(loss=loss)
    parts = [gan.evaluate(network, batch(numbers)) for numbers in (range(7), range(7, 10))]
    found = gan.metrics({name: (parts[0][name] + parts[1][name]).double() for name in parts[0]})
    on_real = network.judge(unit(batch(range(10))))
    on_fake = network.judge(network(gan._noise(network, batch(range(10)), 2)))
    assert found["loss"] == pytest.approx(LOSSES[loss].generator(on_fake).mean().item(), rel=1e-5)
    expected = LOSSES[loss].discriminator(on_real, on_fake, 0.0).mean().item()
    assert found["discriminator_loss"] == pytest.approx(expected, rel=1e-5)
    assert found["accuracy_real"] == pytest.approx((on_real > boundary).double().mean().item())
    assert found["accuracy_fake"] == pytest.approx((on_fake <= boundary).double().mean().item())
    assert 0 < found["accuracy_fake"] < 1
    assert "frechet_distance" not in found, "no checkpoint is the best"


class Classifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.body, self.last = nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.Tanh()), nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        self.seen = inputs
        logits: Tensor = self.last(self.body(inputs))
        return logits


def judged(network: nn.Module, classifier: nn.Module, encoder: ImageEncoder = ENCODER) -> dict[str, float]:
    gan = task(classifier="runs/cnn")
    gan.attach(classifier.eval(), encoder)
    with torch.inference_mode():
        sums = gan.evaluate(network, batch(range(64)))
    return gan.metrics({name: value.double() for name, value in sums.items()})


def test_a_classifier_scores_the_images_and_ranks_the_checkpoints() -> None:
    gan = task(classifier="runs/cnn")
    assert gan.wants_model == Path("runs/cnn").absolute()
    assert gan.objective == ("frechet_distance", "min")
    assert task().wants_model is None
    found = judged(model().eval(), Classifier())
    assert {"inception_score", "inception_score_real", "frechet_distance", "frechet_distance_real"} < found.keys()
    assert found["frechet_distance"] > 3 * found["frechet_distance_real"]


def test_the_classifier_follows_the_task_to_another_device() -> None:
    classifier, gan = Classifier(), task(classifier="runs/cnn")
    gan.attach(classifier, ENCODER)
    gan.to(torch.device("meta"))
    assert {p.device.type for p in classifier.parameters()} == {"meta"}
    task().to(torch.device("meta"))  # without one there is nothing to move


def test_perfect_fakes_score_as_real_images_do() -> None:
    """Fakes that are the real images themselves: the score is the same, and so is the distance of the halves."""

    class Perfect(DCGAN):
        def forward(self, noise: Tensor) -> Tensor:
            return unit(batch(range(64)))

    network = Perfect(dcgan.Config(z_dim=5, width=8), SHAPE).eval()
    found = judged(network, Classifier())
    assert found["inception_score"] == pytest.approx(found["inception_score_real"], rel=1e-6)
    assert found["frechet_distance"] == pytest.approx(found["frechet_distance_real"], rel=1e-6)


def test_the_classifier_reads_images_normalised_as_in_its_own_training() -> None:
    class Copying(DCGAN):
        def forward(self, noise: Tensor) -> Tensor:
            return unit(batch(range(64)))

    classifier = Classifier()
    other = ImageEncoder(shape=SHAPE, mean=np.array([0.1]), std=np.array([0.2]), class_names=("a", "b", "c"))
    judged(Copying(dcgan.Config(z_dim=5, width=8), SHAPE).eval(), classifier, other)
    raw = [np.random.default_rng(number).integers(256, size=SHAPE, dtype=np.uint8) for number in range(64)]
    np.testing.assert_allclose(classifier.seen.numpy(), other.encode(raw)["inputs"], atol=1e-5)


def test_what_is_no_classifier_of_these_images_is_refused() -> None:
    gan = task(classifier="runs/other")
    with pytest.raises(RecipeError, match="runs/other: is no classifier of images"):
        gan.attach(Classifier(), TableEncoder())
    with pytest.raises(RecipeError, match="is no classifier"):
        gan.attach(Classifier(), ImageEncoder(shape=SHAPE))
    with pytest.raises(RecipeError, match=r"\(3, 8, 8\), and those of this recipe are \(1, 8, 8\)"):
        gan.attach(Classifier(), ImageEncoder(shape=(3, 8, 8), class_names=("a", "b")))


def test_images_are_the_seeds_whatever_their_count_and_the_models_mode() -> None:
    network, gan = model(norm="batch").train(), task()
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    few = gan.sample_images(network, 7, seed=5)
    many = gan.sample_images(network, 260, seed=5)
    assert few.dtype == np.uint8
    assert many.shape == (260, *SHAPE)
    assert np.array_equal(few, many[:7])
    assert not np.array_equal(few, gan.sample_images(network, 7, seed=6))
    assert gan.sample_images(network, 0, seed=5).shape == (0, *SHAPE)
    assert network.training, "and running statistics are as they were"
    assert all(torch.equal(state[name], tensor) for name, tensor in network.state_dict().items())


def test_a_grid_shows_the_images_row_by_row() -> None:
    network, gan = model(), task()
    images = gan.sample_images(network, 100, seed=4)
    shown = gan.show(network, None, seed=4)
    assert shown.image is not None
    assert shown.image.dtype == np.uint8
    assert shown.image.shape == (80, 80)
    assert np.array_equal(shown.image[16:24, 40:48], images[25, 0])


def test_a_grid_of_colour_has_its_channels_last() -> None:
    encoder = ImageEncoder(shape=(3, 4, 8), mean=np.zeros(3), std=np.ones(3))
    gan = build(Config(), encoder)
    network = dcgan.build(dcgan.Config(z_dim=5, width=8), gan.spec)
    shown = gan.show(network, None, seed=4)
    assert shown.image is not None
    assert shown.image.shape == (40, 80, 3)
    expected = gan.sample_images(network, 100, seed=4)[37].transpose(1, 2, 0)
    assert np.array_equal(shown.image[12:16, 56:64], expected)


@pytest.mark.parametrize("kind", ["batch", "group"])
def test_both_phases_move_the_generators_running_statistics_and_evaluation_none(kind: str) -> None:
    network, gan = model(norm=kind, discriminator_norm=kind), task()

    def statistics() -> dict[str, Tensor]:
        return {name: buffer.clone() for name, buffer in network.named_buffers() if "running_mean" in name}

    states = [statistics()]
    for phase in gan.phases:
        phase.loss(network, batch())
        states.append(statistics())
    network.eval()
    gan.evaluate(network, batch())
    assert bool(states[0]) is (kind == "batch")
    for name in states[0]:
        assert not torch.equal(states[0][name], states[1][name])
        assert not torch.equal(states[1][name], states[2][name])
    assert all(torch.equal(states[2][name], value) for name, value in statistics().items())
