"""The GAN task: who learns in which phase, noise, and what is refused."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hvdtrain.data.encoders import ImageEncoder, TableEncoder
from hvdtrain.errors import RecipeError, UserError
from hvdtrain.models import dcgan
from hvdtrain.models._dcgan import DCGAN
from hvdtrain.tasks._gan import GAN
from hvdtrain.tasks._gan_losses import LOSSES
from hvdtrain.tasks._task import Batch, Phase
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


def phases(task: GAN) -> tuple[Phase, Phase]:
    discriminator, generator = task.phases
    return discriminator, generator


def test_importing_and_validating_needs_no_torch() -> None:
    code = "import sys, hvdtrain.tasks.gan as g; g.Config(loss='hinge'); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("loss", LOSSES)
def test_phases_sum_the_loss_over_samples(loss: str) -> None:
    """Held against the networks called by hand, on images brought to [-1, 1] and on the phase's own noise."""
    from hvdtrain.data.noise import normal

    network, data = model(), batch()
    first, second = phases(task(loss=loss, noise_seed=8))
    noise = [torch.from_numpy(normal(8, stream, np.arange(6), 5)) for stream in (0, 1)]
    fakes = [network(z) for z in noise]
    expected = LOSSES[loss].discriminator(network.judge(unit(data)), network.judge(fakes[0]), 0.0).sum()
    torch.testing.assert_close(first.loss(network, data), expected)
    torch.testing.assert_close(second.loss(network, data), LOSSES[loss].generator(network.judge(fakes[1])).sum())


def test_the_discriminator_is_held_against_images_in_the_generators_range() -> None:
    seen: list[Tensor] = []
    network, data = model(), batch()
    network.discriminator.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    phases(task())[0].loss(network, data)
    real = seen[0]
    assert real.min() >= -1 - 1e-5
    assert real.max() <= 1 + 1e-5
    torch.testing.assert_close(real.min(), torch.tensor(-1.0), atol=0.02, rtol=0)
    torch.testing.assert_close(real.max(), torch.tensor(1.0), atol=0.02, rtol=0)


def test_a_phase_gives_gradients_to_its_own_network_only() -> None:
    gan, data = task(), batch()
    names = dict(model().named_parameters())
    for phase, own, other in zip(
        phases(gan), ("discriminator.", "generator."), ("generator.", "discriminator."), strict=True
    ):
        assert {name for name in names if phase.trains(name)} == {name for name in names if name.startswith(own)}
        network = model()
        for name, p in network.named_parameters():
            p.requires_grad_(phase.trains(name))  # as the loop does
        phase.loss(network, data).backward()
        for name, p in network.named_parameters():
            if name.startswith(other):
                assert p.grad is None, name
            else:
                assert p.grad is not None, name
                assert p.grad.abs().sum() > 0, name


def test_the_discriminator_phase_takes_no_gradient_through_the_generator() -> None:
    """Nor does it where the generator's parameters want one, as in the count of operations."""
    network = model()
    phases(task())[0].loss(network, batch()).backward()
    assert all(p.grad is None for p in network.generator.parameters())


def test_learning_rates_of_the_phases_differ_as_asked_for() -> None:
    gan = task(discriminator_lr_factor=2.0, generator_lr_factor=0.5)
    assert [(p.name, p.lr_factor) for p in gan.phases] == [("discriminator", 2.0), ("generator", 0.5)]


def test_an_update_of_each_network_helps_it() -> None:
    gan, network, data = task(), model(init_std=0.05), batch(range(32))
    for phase in phases(gan):
        own = [p for name, p in network.named_parameters() if phase.trains(name)]
        before = phase.loss(network, data)
        gradients = torch.autograd.grad(before, own)
        with torch.no_grad():
            for p, gradient in zip(own, gradients, strict=True):
                p -= 1e-4 * gradient
        assert phase.loss(network, data) < before


@pytest.mark.parametrize("workers", [2, 3])
@pytest.mark.parametrize("which", [0, 1])
def test_gradients_do_not_depend_on_the_number_of_workers(workers: int, which: int) -> None:
    """With GroupNorm, noise by number and sums, the workers' gradients add up to one worker's."""
    phase, numbers = phases(task())[which], range(100, 112)

    def gradients(shares: list[Batch]) -> list[Tensor]:
        network = model()
        own = [p for name, p in network.named_parameters() if phase.trains(name)]
        for share in shares:
            phase.loss(network, share).backward(inputs=own)
        return [p.grad for p in own if p.grad is not None]

    alone = gradients([batch(numbers)])
    shared = gradients([batch(numbers[rank::workers]) for rank in range(workers)])
    for a, b in zip(alone, shared, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)
    other = gradients([batch(range(200, 212))])
    assert not all(torch.allclose(a, b, rtol=1e-3, atol=1e-3) for a, b in zip(alone, other, strict=True))


def test_phases_evaluation_and_numbers_have_noise_of_their_own() -> None:
    seen: list[Tensor] = []
    network = model()
    network.generator.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    gan = task()
    for phase in gan.phases:
        phase.loss(network, batch())
    gan.evaluate(network, batch())
    task(noise_seed=1).phases[0].loss(network, batch())
    gan.phases[0].loss(network, batch(range(6, 12)))
    rows = torch.cat(seen)
    assert len(rows) == 30
    assert len(torch.unique(rows, dim=0)) == 30
    gan.phases[0].loss(network, batch([3]))
    assert torch.equal(seen[-1][0], seen[0][3])


def test_an_empty_batch_adds_nothing_and_has_a_graph() -> None:
    network, gan = model(), task()
    for phase in gan.phases:
        loss = phase.loss(network, batch([]))
        loss.backward()
        assert loss.item() == 0
    assert all(p.grad is not None and not p.grad.any() for p in network.parameters())
    assert gan.evaluate(network, batch([]))["samples"] == 0


def test_the_loss_is_in_full_precision_under_autocast() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert {phase.loss(model(), batch()).dtype for phase in task().phases} == {torch.float32}


def test_data_and_models_that_do_not_fit_are_refused() -> None:
    with pytest.raises(RecipeError, match="makes images, and the data of this recipe are table"):
        build(Config(), TableEncoder())
    for phase in task().phases:
        with pytest.raises(RecipeError, match=r"\(Linear\) does not have; take model: \{name: dcgan\}"):
            phase.loss(nn.Linear(1, 1), batch())
    with pytest.raises(UserError, match="see samples/"):
        task().predict(model(), batch())
