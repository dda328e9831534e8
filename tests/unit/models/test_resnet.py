"""The residual network: the paper's numbers, its formulas with torch's functions, and what it refuses."""

import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import Tensor

from hvdtrain.errors import RecipeError
from hvdtrain.models._resnet import ResNet
from hvdtrain.models._spec import DataSpec
from hvdtrain.models.resnet import Config, build


def make(image: tuple[int, int, int] = (3, 9, 8), outputs: int = 3, **values: object) -> ResNet:
    torch.manual_seed(0)
    return build(Config(**{"width": 8} | values), DataSpec(image=image, outputs=outputs)).eval()


def randomised(model: ResNet) -> ResNet:
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if tensor.ndim == 1:
                tensor.uniform_(0.5, 1.5) if "var" in name else tensor.normal_(0.5)
    return model


@pytest.mark.parametrize(("depth", "millions"), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7)])
def test_parameters_are_those_of_the_papers_table_6(depth: int, millions: float) -> None:
    model = make((3, 32, 32), 10, depth=depth, width=16)
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 2) == pytest.approx(millions, abs=0.031)
    layers = [p for p in model.parameters() if p.ndim > 1]
    assert len(layers) == depth


def reference(model: ResNet, x: Tensor, depth: int, norm: str) -> Tensor:
    weights = model.state_dict()

    def normed(x: Tensor, name: str) -> Tensor:
        scale, shift = weights[f"{name}.weight"], weights[f"{name}.bias"]
        if norm == "group":
            return F.group_norm(x, x.shape[1] // 8, scale, shift)
        return F.batch_norm(x, weights[f"{name}.running_mean"], weights[f"{name}.running_var"], scale, shift)

    x = F.relu(normed(F.conv2d(x, weights["stem.weight"], padding=1), "norm"))
    blocks = (depth - 2) // 6
    for block in range(3 * blocks):
        name = f"blocks.{block}"
        halves = block in (blocks, 2 * blocks)
        y = F.conv2d(x, weights[f"{name}.first.weight"], stride=2 if halves else 1, padding=1)
        y = F.relu(normed(y, f"{name}.first_norm"))
        y = normed(F.conv2d(y, weights[f"{name}.second.weight"], padding=1), f"{name}.second_norm")
        if halves:
            x = torch.cat([x[:, :, ::2, ::2], torch.zeros_like(x[:, :, ::2, ::2])], 1)
        x = F.relu(y + x)
    return x.mean((2, 3)) @ weights["output.weight"].T + weights["output.bias"]


@pytest.mark.parametrize("norm", ["batch", "group"])
@pytest.mark.parametrize("depth", [8, 14])
def test_outputs_are_the_formulas(depth: int, norm: str) -> None:
    model, images = randomised(make(depth=depth, norm=norm)), torch.randn(4, 3, 9, 8)
    expected = reference(model, images, depth, norm)
    found = model(images)
    assert found.shape == (4, 3)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("zero_init", [True, False])
def test_blocks_are_the_identity_at_first_where_asked_for(zero_init: bool) -> None:
    model = make(zero_init=zero_init)
    first, x = model.blocks[0], torch.rand(2, 8, 9, 8)
    assert torch.equal(first(x), x) == zero_init
    model.train()(torch.randn(4, 3, 9, 8)).sum().backward()
    assert bool(first.second_norm.weight.grad.any()), "it can leave zero"


def test_group_norm_knows_nothing_of_other_images() -> None:
    model, images = randomised(make(norm="group")).train(), torch.randn(4, 3, 9, 8)
    torch.testing.assert_close(model(images)[1:2], model(images[1:2]), rtol=1e-4, atol=1e-5)


def test_an_empty_batch_has_a_gradient_of_zero() -> None:
    for enabled in (False, True):
        model = make(norm="group").train()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            outputs = model(torch.empty(0, 3, 9, 8))
        outputs.float().sum().backward()
        assert outputs.shape == (0, 3)
        assert not any(p.grad.any() for p in model.parameters())


@pytest.mark.parametrize("sides", [(8, 8), (28, 28), (1, 1), (5, 7)])
def test_images_may_be_of_any_size(sides: tuple[int, int]) -> None:
    assert make((1, *sides))(torch.randn(2, 1, *sides)).shape == (2, 3)


def test_importing_and_validating_needs_no_torch() -> None:
    code = "import sys, hvdtrain.models.resnet as m; m.Config(depth=14); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"depth": 18}, r"must be 6 n \+ 2, two layers a block in three stages of n, such as 14 or 20"),
        ({"depth": 2}, "depth"),
        ({"norm": "group", "width": 12}, "group needs model.width, 12, to be a multiple of 8; or take batch"),
        ({"norm": "none"}, "norm"),
    ],
)
def test_values_that_do_not_fit_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Config(**values)


def test_rows_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"model.name = resnet: reads images, .* has rows of numbers"):
        build(Config(), DataSpec(features=9, outputs=2))
