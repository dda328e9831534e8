"""The multilayer perceptron, held against sums written out here, and what it refuses."""

import math
import subprocess
import sys

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from hvdtrain.errors import RecipeError
from hvdtrain.models._mlp import MLP
from hvdtrain.models._spec import DataSpec
from hvdtrain.models.mlp import Config, build

ROWS = DataSpec(features=5, outputs=3)
ACTIVATIONS = {
    "relu": lambda x: max(x, 0.0),
    "tanh": math.tanh,
    "gelu": lambda x: x * 0.5 * (1 + math.erf(x / math.sqrt(2))),
}


def make(spec: DataSpec = ROWS, **values: object) -> MLP:
    torch.manual_seed(0)
    return build(Config(**{"hidden_dims": [7, 4]} | values), spec).eval()


def by_hand(model: MLP, row: Tensor, activation: str) -> list[float]:
    weights = [tensor.double() for tensor in model.state_dict().values()]
    x = row.double()
    for place in range(0, len(weights), 2):
        x = weights[place] @ x + weights[place + 1]
        if place < len(weights) - 2:
            x = torch.tensor([ACTIVATIONS[activation](value) for value in x.tolist()], dtype=torch.float64)
    return x.tolist()


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("hidden", [[], [6], [7, 4, 9]])
def test_outputs_are_the_formulas(activation: str, hidden: list[int]) -> None:
    model = make(hidden_dims=hidden, activation=activation)
    with torch.no_grad():
        for p in model.parameters():
            p.normal_()
    rows = torch.randn(4, 5)
    outputs = model(rows)
    assert outputs.shape == (4, 3)
    for row, output in zip(rows, outputs, strict=True):
        assert output.tolist() == pytest.approx(by_hand(model, row, activation), rel=1e-4, abs=1e-5)


def test_the_worked_example_has_121_parameters() -> None:
    model = make(DataSpec(features=10, outputs=1), hidden_dims=[10])
    assert sum(p.numel() for p in model.parameters()) == 10 * 10 + 10 + 10 + 1


def test_images_are_rows_of_pixels() -> None:
    model = make(DataSpec(image=(2, 3, 4), outputs=2))
    images = torch.randn(5, 2, 3, 4)
    assert torch.equal(model(images), make(DataSpec(features=24, outputs=2))(images.reshape(5, 24)))


@pytest.mark.parametrize(("activation", "variance"), [("relu", 2 / 400), ("gelu", 2 / 400), ("tanh", 2 / 700)])
def test_weights_keep_the_variance(activation: str, variance: float) -> None:
    model = make(DataSpec(features=400, outputs=2), hidden_dims=[300], activation=activation)
    weight, bias, output, _ = model.parameters()
    assert weight.var().item() == pytest.approx(variance, rel=0.05)
    assert output.var().item() == pytest.approx(2 / 302, rel=0.2)
    assert not bias.any()


def test_dropout_acts_in_training_only() -> None:
    model, rows = make(dropout=0.5), torch.randn(3, 5)
    assert torch.equal(model(rows), model(rows))
    assert not torch.equal(model.train()(rows), model(rows))


def test_an_empty_batch_has_a_gradient_of_zero() -> None:
    model = make(dropout=0.1).train()
    outputs = model(torch.empty(0, 5))
    outputs.sum().backward()
    assert outputs.shape == (0, 3)
    assert not any(p.grad.any() for p in model.parameters())


def test_importing_and_validating_needs_no_torch() -> None:
    code = "import sys, hvdtrain.models.mlp as m; m.Config(hidden_dims=[3]); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("values", [{"hidden_dims": [0]}, {"activation": "sin"}, {"dropout": 1.0}])
def test_values_that_do_not_fit_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(values))):
        Config(**values)


def test_tokens_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"model.name = mlp: reads rows of numbers, .* has tokens"):
        build(Config(), DataSpec(vocab_size=9, max_seq_len=4, outputs=2))
