"""What the LSTM computes, held against its cell written here step by step in float64."""

import subprocess
import sys

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from hvdtrain.errors import RecipeError
from hvdtrain.models._recurrent import RecurrentLanguageModel
from hvdtrain.models._spec import DataSpec
from hvdtrain.models.lstm import Config, build

VOCAB, LENGTH = 23, 9
SHAPES = {
    "tied": {"d_model": 8, "n_layers": 3},
    "tied, projected": {"d_model": 8, "hidden_dim": 12, "n_layers": 2},
    "untied": {"d_model": 8, "hidden_dim": 12, "n_layers": 1, "tie_embeddings": False},
}


def make(**values: object) -> RecurrentLanguageModel:
    torch.manual_seed(0)
    model = build(Config(**values), DataSpec(VOCAB, LENGTH))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "bias" in name:  # biases of zero would hide one that is forgotten
                parameter.normal_(std=0.3)
    return model


def reference_logits(weights: dict[str, Tensor], layers: int, inputs: Tensor) -> Tensor:
    """Logits (B, T, V); c_t = f c_(t-1) + i g and h_t = o tanh(c_t)."""
    embedding = weights["embedding.weight"]
    x = embedding[inputs] * embedding.shape[1] ** 0.5
    for layer in range(layers):
        w, u = weights[f"layers.weight_ih_l{layer}"], weights[f"layers.weight_hh_l{layer}"]
        bias = weights[f"layers.bias_ih_l{layer}"] + weights[f"layers.bias_hh_l{layer}"]
        h = c = torch.zeros(len(inputs), u.shape[1], dtype=u.dtype)
        states = []
        for t in range(inputs.shape[1]):
            i, f, g, o = (x[:, t] @ w.T + h @ u.T + bias).chunk(4, 1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            states.append(h)
        x = torch.stack(states, 1)
    if "projection.weight" in weights:
        x = x @ weights["projection.weight"].T
    return x @ weights.get("output.weight", embedding).T + weights["output_bias"]


@pytest.mark.parametrize("shape", SHAPES)
def test_logits_and_gradients_equal_the_reference(shape: str) -> None:
    model = make(**SHAPES[shape])
    weights = {name: p.detach().double().requires_grad_() for name, p in model.named_parameters()}
    inputs = torch.randint(VOCAB, (4, LENGTH), generator=torch.Generator().manual_seed(5))
    expected = reference_logits(weights, model.config.n_layers, inputs)
    logits = model(inputs)
    assert logits.shape == (4, LENGTH, VOCAB)
    torch.testing.assert_close(logits.double(), expected, rtol=1e-5, atol=1e-5)

    pull = torch.randn(expected.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    (expected * pull).sum().backward()
    (logits * pull.float()).sum().backward()
    for name, parameter in model.named_parameters():
        scale = weights[name].grad.abs().max()
        torch.testing.assert_close(parameter.grad.double() / scale, weights[name].grad / scale, rtol=0, atol=1e-5)


def test_a_fresh_cell_remembers() -> None:
    torch.manual_seed(0)
    model = build(Config(d_model=8, n_layers=2), DataSpec(VOCAB, LENGTH))
    for layer in range(2):
        bias = model.layers.get_parameter(f"bias_ih_l{layer}") + model.layers.get_parameter(f"bias_hh_l{layer}")
        assert torch.equal(bias, torch.tensor([0.0] * 8 + [1.0] * 8 + [0.0] * 16))


def test_importing_and_validating_needs_no_torch() -> None:
    code = "import sys, hvdtrain.models.lstm as m; m.Config(d_model=64); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("values", [{"dropout": 1.0}, {"hidden_dim": 0}, {"n_layers": 0}, {"d_model": 1.5}])
def test_values_outside_of_their_range_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(values))):
        Config(**values)


def test_data_that_is_no_text_is_refused() -> None:
    with pytest.raises(RecipeError, match="lstm: reads tokens, and the data of this recipe has rows of numbers"):
        build(Config(), DataSpec(features=8, outputs=2))
