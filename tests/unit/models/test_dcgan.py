"""The DCGAN: shapes, names, initialisation, what it refuses, and what a norm makes of a batch."""

import subprocess
import sys

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from hvdtrain.errors import RecipeError
from hvdtrain.models._dcgan import DCGAN
from hvdtrain.models._spec import DataSpec
from hvdtrain.models.dcgan import Config, build


def make(image: tuple[int, int, int] = (1, 28, 28), **values: object) -> DCGAN:
    torch.manual_seed(0)
    return build(Config(**{"z_dim": 6, "width": 8} | values), DataSpec(image=image))


def noise(count: int = 5, width: int = 6) -> torch.Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(1))


def test_importing_and_validating_needs_no_torch() -> None:
    code = "import sys, hvdtrain.models.dcgan as g; g.Config(width=64); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(("image", "layers"), [((1, 28, 28), 2), ((3, 16, 24), 3), ((1, 64, 64), 4), ((3, 6, 2), 1)])
def test_makes_and_judges_images_of_the_datas_shape(image: tuple[int, int, int], layers: int) -> None:
    model = make(image, n_layers=layers)
    images = model(noise())
    assert images.shape == (5, *image)
    assert images.abs().max() <= 1
    assert model.judge(images).shape == (5,)
    assert model(noise(0)).shape == (0, *image)
    assert model.judge(images[:0]).shape == (0,)


def test_layers_halve_and_double_as_the_paper_has_it() -> None:
    model = make((1, 64, 64), n_layers=4, width=16)
    down = [m for m in model.discriminator.modules() if isinstance(m, nn.Conv2d)]
    up = [m for m in model.generator.modules() if isinstance(m, nn.ConvTranspose2d)]
    assert [m.out_channels for m in down] == [16, 32, 64, 128]
    assert [m.in_channels for m in up] == [128, 64, 32, 16]
    assert {m.kernel_size + m.stride + m.padding for m in [*down, *up]} == {(4, 4, 2, 2, 1, 1)}
    norms = [isinstance(m, nn.GroupNorm) for m in model.discriminator]
    assert sum(norms) == 3
    assert not norms[1], "the layer that reads the image is not normalised"
    assert isinstance(model.generator[-1], nn.Tanh)


def test_every_parameter_is_one_of_the_two_and_both_learn() -> None:
    model = make()
    names = {name.split(".")[0] for name, _ in model.named_parameters()}
    assert names == {"generator", "discriminator"}
    model.judge(model(noise())).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_weights_are_drawn_as_in_the_paper_by_the_global_seed() -> None:
    model = make(width=64, z_dim=64, init_std=0.05)
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)) and module.weight.numel() > 500:
            assert module.weight.std().item() == pytest.approx(0.05, rel=0.1)
            assert abs(module.weight.mean().item()) < 0.01
        if isinstance(module, nn.GroupNorm):
            assert module.weight.mean().item() == pytest.approx(1.0, abs=0.03)
            assert module.weight.std().item() == pytest.approx(0.05, rel=0.3)
        if getattr(module, "bias", None) is not None:
            assert not module.bias.any()
    again = make(width=64, z_dim=64, init_std=0.05)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize(("kind", "alone"), [("group", True), ("batch", False)])
def test_with_group_norm_a_sample_does_not_depend_on_its_batch(kind: str, alone: bool) -> None:
    model = make(norm=kind, discriminator_norm=kind)
    whole, part = model(noise()), model(noise()[:2])
    assert torch.allclose(whole[:2], part, atol=1e-5) is alone
    # of images that differ much: fresh generators make nearly equal ones
    images = torch.randn(5, 1, 28, 28, generator=torch.Generator().manual_seed(2))
    assert torch.allclose(model.judge(images)[:2], model.judge(images[:2]), atol=1e-4) is alone


def test_a_discriminator_without_norms_has_biases_instead() -> None:
    model = make(discriminator_norm="none")
    assert not [m for m in model.discriminator.modules() if isinstance(m, (nn.GroupNorm, nn.BatchNorm2d))]
    assert all(m.bias is not None for m in model.discriminator.modules() if isinstance(m, nn.Conv2d))


def test_sides_that_cannot_be_halved_are_refused_with_what_to_do() -> None:
    with pytest.raises(RecipeError, match=r"n_layers = 4.*28 x 28.*divided by 16; set model\.n_layers=2"):
        make((1, 28, 28), n_layers=4)
    with pytest.raises(RecipeError, match=r"5 x 8.*divided by 2; make the images' sides even"):
        make((1, 5, 8), n_layers=1)


def test_data_or_tasks_that_want_something_else_are_refused() -> None:
    with pytest.raises(RecipeError, match="reads images, and the data of this recipe has rows of numbers"):
        build(Config(), DataSpec(features=3))
    with pytest.raises(RecipeError, match=r"wants 10 outputs.*task: \{name: gan\}"):
        build(Config(), DataSpec(image=(1, 28, 28), outputs=10))


@pytest.mark.parametrize("values", [{"width": 12}, {"width": 0}, {"z_dim": 0}, {"n_layers": 0}, {"norm": "none"}])
def test_impossible_shapes_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Config(**values)
