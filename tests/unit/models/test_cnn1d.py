"""The one-dimensional CNN, held against sums written out here, one text and one token at a time."""

import math
import subprocess
import sys

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from hvdtrain.errors import RecipeError
from hvdtrain.models._cnn1d import CNN1D
from hvdtrain.models._spec import DataSpec
from hvdtrain.models.cnn1d import Config, build

VOCAB, PAD, LENGTH, OUTPUTS = 21, 20, 12, 3


def make(**values: object) -> CNN1D:
    torch.manual_seed(0)
    config = Config(**{"d_model": 4, "channels": 16, "kernel_size": 5} | values)
    return build(config, DataSpec(VOCAB, LENGTH, PAD, outputs=OUTPUTS)).eval()


def texts(*lengths: int) -> Tensor:
    """Ids of texts of these lengths, the end of text among them, padded to the longest."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.full((len(lengths), max(lengths)), PAD)
    for row, length in enumerate(lengths):
        ids[row, : length - 1] = torch.randint(PAD, (length - 1,), generator=generator)
    return ids


def reference_logits(model: CNN1D, ids: list[int]) -> Tensor:
    """Logits of one text without padding, in evaluation mode."""
    weights = {name: tensor.detach().double() for name, tensor in model.state_dict().items()}
    x = weights["embedding.weight"][ids]
    half = model.config.kernel_size // 2
    for layer in range(model.config.n_layers):
        kernel = weights[f"layers.{layer}.conv.weight"]
        scale, shift = weights[f"layers.{layer}.norm.weight"], weights[f"layers.{layer}.norm.bias"]
        rows = []
        for t in range(len(ids)):
            near = [k for k in range(-half, half + 1) if 0 <= t + k < len(ids)]
            row = torch.stack([kernel[:, :, k + half] @ x[t + k] for k in near]).sum(0)
            if model.config.norm == "batch":
                mean, variance = (weights[f"layers.{layer}.norm.running_{name}"] for name in ("mean", "var"))
                row = (row - mean) / torch.sqrt(variance + 1e-5)
            else:
                groups = [(g - g.mean()) / math.sqrt(float(g.var(correction=0)) + 1e-5) for g in row.split(8)]
                row = torch.cat(groups)
            rows.append((row * scale + shift).clamp(min=0))
        x = torch.stack(rows)
    if model.config.pooling == "max":
        pooled = x.max(0).values
    else:
        pooled = torch.zeros(LENGTH, x.shape[1], dtype=x.dtype)
        pooled[: len(x)] = x
    return weights["output.weight"] @ pooled.flatten() + weights["output.bias"]


def randomise_norms(model: CNN1D) -> None:
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if "norm" in name and tensor.ndim:
                tensor.uniform_(0.5, 1.5)


@pytest.mark.parametrize("norm", ["group", "batch"])
@pytest.mark.parametrize("pooling", ["max", "flatten"])
def test_logits_of_a_padded_batch_equal_the_reference_text_by_text(norm: str, pooling: str) -> None:
    model, lengths = make(norm=norm, pooling=pooling), (8, 1, 11, 3)
    randomise_norms(model)
    ids = texts(*lengths)
    rows = [row[:length].tolist() for row, length in zip(ids, lengths, strict=True)]
    expected = torch.stack([reference_logits(model, row) for row in rows])
    logits = model(ids)
    assert logits.shape == (4, OUTPUTS)
    torch.testing.assert_close(logits.double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("norm", ["group", "batch"])
@pytest.mark.parametrize("pooling", ["max", "flatten"])
def test_padding_changes_no_result_no_gradient_and_no_statistics(norm: str, pooling: str) -> None:
    """In training too, where the statistics of a norm are those of the batch."""
    models = [make(norm=norm, pooling=pooling, dropout=0.0).train() for _ in range(2)]
    short = texts(7, 3)
    batches = [short, torch.cat([short, torch.full((2, LENGTH - 7), PAD)], 1)]
    results = [model(ids) for model, ids in zip(models, batches, strict=True)]
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=1e-5)
    for result in results:
        result.square().sum().backward()
    for one, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-5)
    for one, other in zip(models[0].buffers(), models[1].buffers(), strict=True):
        torch.testing.assert_close(one, other)


def test_batch_norm_takes_each_token_once() -> None:
    model, ids = make(norm="batch", n_layers=1, dropout=0.0).train(), texts(9, 4)
    model(ids)
    x = model.embedding(ids).detach()
    x[1, 4:] = 0
    convolved = torch.nn.functional.conv1d(x.transpose(1, 2), model.layers[0].conv.weight, padding=2).transpose(1, 2)
    tokens = torch.cat([convolved[0], convolved[1, :4]])
    norm = model.layers[0].norm
    torch.testing.assert_close(norm.running_mean, 0.1 * tokens.mean(0))
    torch.testing.assert_close(norm.running_var, 0.9 + 0.1 * tokens.var(0))


def test_flatten_knows_the_place_and_max_does_not() -> None:
    ids = torch.full((2, LENGTH), 0)
    ids[0, 4], ids[1, 6] = 7, 7  # the same letter, both far from the ends
    ids[:, -1] = PAD
    for pooling, differs in (("max", False), ("flatten", True)):
        one, other = make(pooling=pooling, n_layers=1, kernel_size=3)(ids)
        assert ((one - other).abs().max() > 1e-4) == differs


@pytest.mark.parametrize("norm", ["group", "batch"])
@pytest.mark.parametrize("pooling", ["max", "flatten"])
def test_an_empty_batch_gives_no_rows_and_no_gradient(norm: str, pooling: str) -> None:
    model = make(norm=norm, pooling=pooling, token_dropout=0.2).train()
    before = {name: tensor.clone() for name, tensor in model.named_buffers() if "running" in name}
    for autocast in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            logits = model(torch.empty(0, 4, dtype=torch.int64))
        assert logits.shape == (0, OUTPUTS)
        logits.float().sum().backward()
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())
    assert all(tensor.isfinite().all() for tensor in dict(model.named_buffers()).values())
    assert before.keys() <= dict(model.named_buffers()).keys()


@pytest.mark.parametrize("norm", ["group", "batch"])
def test_bf16_is_near_float32(norm: str) -> None:
    model, ids = make(norm=norm), texts(9, 1, 11)
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(ids)
    torch.testing.assert_close(logits.float(), model(ids), rtol=0, atol=0.1)


def test_dropout_acts_in_training_only() -> None:
    model, ids = make(dropout=0.5), texts(9, 9)
    assert torch.equal(model(ids), model(ids))
    assert not torch.equal(model.train()(ids), model(ids))
    whole = make(dropout=0.0, token_dropout=0.5).train()
    assert not torch.equal(whole(ids), whole(ids))


def test_more_tokens_than_the_model_sees_are_refused() -> None:
    with pytest.raises(ValueError, match=f"13 tokens, but the model sees at most {LENGTH}"):
        make()(texts(13))


def test_importing_and_validating_needs_no_torch() -> None:
    code = "import sys, hvdtrain.models.cnn1d as m; m.Config(d_model=64); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kernel_size": 4}, "must be odd, so that it has a middle, such as 3 or 5"),
        ({"channels": 12}, "to be a multiple of 8"),
        ({"pooling": "mean"}, "pooling"),
        ({"dropout": 1.0}, "dropout"),
    ],
)
def test_values_that_do_not_fit_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Config(**values)


def test_batch_norm_takes_any_number_of_channels() -> None:
    assert make(norm="batch", channels=10)(texts(5)).shape == (1, OUTPUTS)


def test_data_that_is_no_text_is_refused() -> None:
    with pytest.raises(RecipeError, match="cnn1d: reads tokens, and the data of this recipe has images"):
        build(Config(), DataSpec(image=(1, 8, 8), outputs=2))
