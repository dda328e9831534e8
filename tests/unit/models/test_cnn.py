"""The small convolutional network, held against sums written out here, pixel by pixel, and what it refuses."""

import subprocess
import sys
from itertools import product

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from hvdtrain.errors import RecipeError
from hvdtrain.models._cnn import CNN
from hvdtrain.models._spec import DataSpec
from hvdtrain.models.cnn import Config, build

IMAGE = (2, 6, 5)


def make(image: tuple[int, int, int] = IMAGE, **values: object) -> CNN:
    torch.manual_seed(0)
    config = Config(**{"channels": [16, 8], "hidden_dim": 6} | values)
    model = build(config, DataSpec(image=image, outputs=3)).eval()
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if tensor.ndim == 1:
                tensor.uniform_(0.5, 1.5) if "var" in name else tensor.normal_(0.5)
    return model


def convolved(image: Tensor, layer: nn.Conv2d) -> Tensor:
    """(C, H, W) -> (C', H, W), zeros around the image."""
    kernel = layer.weight.detach().double()
    half = kernel.shape[-1] // 2
    _, height, width = image.shape
    result = torch.zeros(len(kernel), height, width, dtype=torch.float64)
    for y, x, dy, dx in product(range(height), range(width), range(-half, half + 1), range(-half, half + 1)):
        if 0 <= y + dy < height and 0 <= x + dx < width:
            result[:, y, x] += kernel[:, :, dy + half, dx + half] @ image[:, y + dy, x + dx]
    return result if layer.bias is None else result + layer.bias.detach().double()[:, None, None]


def normed(image: Tensor, layer: nn.Module) -> Tensor:
    scale, shift = (p.detach().double()[:, None, None] for p in (layer.weight, layer.bias))
    if isinstance(layer, nn.BatchNorm2d):
        mean, variance = (b.double()[:, None, None] for b in (layer.running_mean, layer.running_var))
        image = (image - mean) / torch.sqrt(variance + 1e-5)
    else:
        image = torch.cat([(g - g.mean()) / torch.sqrt(g.var(correction=0) + 1e-5) for g in image.split(8)])
    return image * scale + shift


def pooled(image: Tensor, how: str) -> Tensor:
    channels, height, width = image.shape
    result = torch.empty(channels, height // 2, width // 2, dtype=torch.float64)
    for y, x in product(range(height // 2), range(width // 2)):
        window = image[:, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2].flatten(1)
        result[:, y, x] = window.amax(1) if how == "max" else window.mean(1)
    return result


def by_hand(model: CNN, config: Config, image: Tensor) -> Tensor:
    layers = [m for m in model.modules() if isinstance(m, (nn.Conv2d, nn.GroupNorm, nn.BatchNorm2d, nn.Linear))]
    x = image.double()
    for _ in config.channels:
        for _ in range(config.convolutions):
            x = convolved(x, layers.pop(0))
            if config.norm != "none":
                x = normed(x, layers.pop(0))
            x = x.clamp(min=0)
        x = pooled(x, config.pooling)
    x = x.flatten()
    for place, linear in enumerate(layers):
        x = linear.weight.detach().double() @ x + linear.bias.detach().double()
        x = x.clamp(min=0) if place < len(layers) - 1 else x
    return x


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"norm": "none", "kernel_size": 5},
        {"norm": "batch", "pooling": "average"},
        {"convolutions": 2, "hidden_dim": 0},
        {"norm": "batch", "channels": [3]},
    ],
    ids=str,
)
def test_outputs_are_the_formulas(values: dict[str, object]) -> None:
    model = make(**values)
    config = Config(**{"channels": [16, 8], "hidden_dim": 6} | values)
    images = torch.randn(3, *IMAGE)
    expected = torch.stack([by_hand(model, config, image) for image in images])
    torch.testing.assert_close(model(images).double(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("norm", ["none", "group"])
def test_an_image_knows_nothing_of_others_in_its_batch(norm: str) -> None:
    model, images = make(norm=norm).train(), torch.randn(4, *IMAGE)
    torch.testing.assert_close(model(images)[1:2], model(images[1:2]))


@pytest.mark.parametrize("norm", ["none", "group"])
def test_an_empty_batch_has_a_gradient_of_zero(norm: str) -> None:
    for precision in (False, True):
        model = make(norm=norm, dropout=0.1).train()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision):
            outputs = model(torch.empty(0, *IMAGE))
        outputs.float().sum().backward()
        assert outputs.shape == (0, 3)
        assert not any(p.grad.any() for p in model.parameters())


def test_bf16_is_near_float32() -> None:
    model, images = make(), torch.randn(4, *IMAGE)
    with torch.autocast("cpu", torch.bfloat16):
        found = model(images)
    torch.testing.assert_close(found.float(), model(images), rtol=0.05, atol=0.2)


def test_dropout_acts_in_training_only() -> None:
    model, images = make(dropout=0.5), torch.randn(3, *IMAGE)
    assert torch.equal(model(images), model(images))
    assert not torch.equal(model.train()(images), model(images))


def test_more_stages_than_an_image_has_halves_are_refused() -> None:
    assert make((1, 8, 28), channels=[8, 8, 8])(torch.randn(2, 1, 8, 28)).shape == (2, 3)
    with pytest.raises(RecipeError, match=r"model.channels: has 4 stages, .* 8 x 28, allow 3"):
        make((1, 8, 28), channels=[8, 8, 8, 8])


def test_importing_and_validating_needs_no_torch() -> None:
    code = "import sys, hvdtrain.models.cnn as m; m.Config(channels=[8]); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kernel_size": 4}, "must be odd, so that it has a middle, such as 3 or 5"),
        ({"channels": [16, 12]}, "group needs model.channels, 12, to be a multiple of 8; or take batch"),
        ({"channels": []}, "channels"),
        ({"pooling": "mean"}, "pooling"),
        ({"norm": "layer"}, "norm"),
    ],
)
def test_values_that_do_not_fit_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Config(**values)


def test_rows_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"model.name = cnn: reads images, .* has rows of numbers"):
        build(Config(), DataSpec(features=9, outputs=2))
