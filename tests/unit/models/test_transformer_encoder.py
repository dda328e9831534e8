"""The transformer encoder, held against a second one written here in plain float64 torch, one text at a time."""

import math
import subprocess
import sys

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from hvdtrain.errors import RecipeError
from hvdtrain.models._spec import DataSpec
from hvdtrain.models._transformer_encoder import TransformerEncoder
from hvdtrain.models.transformer_encoder import Config, build

VOCAB, PAD, LENGTH, OUTPUTS = 41, 40, 14, 3
SHAPES = {
    "multi-head": {"d_model": 16, "n_layers": 2, "n_heads": 2},
    "grouped": {"d_model": 24, "n_layers": 1, "n_heads": 6, "n_kv_heads": 2, "ffn_dim": 20, "rope_base": 50.0},
}


def make(**values: object) -> TransformerEncoder:
    torch.manual_seed(0)
    config = Config(**{"d_model": 16, "n_layers": 2, "n_heads": 2, "init_std": 0.2} | values)
    return build(config, DataSpec(VOCAB, LENGTH, PAD, outputs=OUTPUTS)).eval()


def texts(*lengths: int) -> Tensor:
    """Ids of texts of these lengths, the end of text among them, padded to the longest."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.full((len(lengths), max(lengths)), PAD)
    for row, length in enumerate(lengths):
        ids[row, : length - 1] = torch.randint(PAD, (length - 1,), generator=generator)
    return ids


def reference_logits(config: Config, weights: dict[str, Tensor], ids: list[int]) -> Tensor:
    """Logits of one text without padding, one head at a time; `weights` are float64."""

    def norm(x: Tensor, weight: Tensor) -> Tensor:
        return x / torch.sqrt((x**2).mean(-1, keepdim=True) + config.norm_eps) * weight

    def turn(head: Tensor) -> Tensor:  # (T, D)
        out = torch.empty_like(head)
        for position, row in enumerate(head):
            for pair in range(0, config.head_dim, 2):
                angle = position / config.rope_base ** (pair / config.head_dim)
                cos, sin = math.cos(angle), math.sin(angle)
                out[position, pair] = cos * row[pair] - sin * row[pair + 1]
                out[position, pair + 1] = sin * row[pair] + cos * row[pair + 1]
        return out

    x = weights["embedding.weight"][ids]
    for layer in range(config.n_layers):
        block = {name.removeprefix(f"blocks.{layer}."): w for name, w in weights.items()}
        normed = norm(x, block["attention_norm.weight"])
        heads = [normed @ rows.T for rows in block["attention.qkv.weight"].split(config.head_dim)]
        mixed = []
        for number in range(config.n_heads):
            group = config.n_heads + number * config.kv_heads // config.n_heads
            scores = turn(heads[number]) @ turn(heads[group]).T / math.sqrt(config.head_dim)
            mixed.append(scores.softmax(-1) @ heads[group + config.kv_heads])
        x = x + torch.cat(mixed, -1) @ block["attention.out.weight"].T
        normed = norm(x, block["feed_forward_norm.weight"])
        gate, up = (normed @ rows.T for rows in block["feed_forward.gate_up.weight"].chunk(2))
        x = x + (gate * torch.sigmoid(gate) * up) @ block["feed_forward.down.weight"].T
    pooled = norm(x, weights["norm.weight"]).sum(0) / len(ids)
    return weights["output.weight"] @ pooled + weights["output.bias"]


@pytest.mark.parametrize("shape", SHAPES)
def test_logits_of_a_padded_batch_equal_the_reference_text_by_text(shape: str) -> None:
    model, lengths = make(**SHAPES[shape]), (9, 1, 14, 4)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name or "bias" in name:  # ones and zeros would hide what is forgotten
                parameter.uniform_(0.5, 1.5)
    weights = {name: p.detach().double() for name, p in model.named_parameters()}
    ids = texts(*lengths)
    rows = [row[:length].tolist() for row, length in zip(ids, lengths, strict=True)]
    expected = torch.stack([reference_logits(model.config, weights, row) for row in rows])
    logits = model(ids)
    assert logits.shape == (4, OUTPUTS)
    torch.testing.assert_close(logits.double(), expected, rtol=1e-5, atol=1e-5)


def test_padding_changes_no_result_and_no_gradient() -> None:
    model, short = make(), texts(7, 3)
    padded = torch.cat([short, torch.full((2, 5), PAD)], 1)
    torch.testing.assert_close(model(padded), model(short), rtol=0, atol=1e-5)
    parameters = list(model.parameters())
    for one, other in zip(
        torch.autograd.grad(model(padded).square().sum(), parameters),
        torch.autograd.grad(model(short).square().sum(), parameters),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_order_matters_and_tokens_see_those_after_them() -> None:
    model, ids = make(), texts(8)
    turned = torch.cat([ids[:, :7].flip(1), ids[:, 7:]], 1)
    assert (model(ids) - model(turned)).abs().max() > 1e-3
    x = torch.randn(1, 8, 16)
    rotation = torch.complex(model.cos[:8], model.sin[:8]).unsqueeze(1)
    valid = torch.ones(1, 8, dtype=torch.bool)
    changed = x.clone()
    changed[0, 7] += 1
    difference = model.blocks[0](x, rotation, valid=valid) - model.blocks[0](changed, rotation, valid=valid)
    assert difference.abs().amax(-1).min() > 1e-4


def test_more_tokens_than_the_model_sees_are_refused() -> None:
    with pytest.raises(ValueError, match=f"15 tokens, but the model sees at most {LENGTH}"):
        make()(texts(15))


def test_an_empty_batch_gives_no_rows_and_no_gradient() -> None:
    model = make(dropout=0.1, token_dropout=0.2).train()
    for autocast in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            logits = model(torch.empty(0, 4, dtype=torch.int64))
        assert logits.shape == (0, OUTPUTS)
        logits.float().sum().backward()
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())


def test_bf16_is_near_float32() -> None:
    model, ids = make(init_std=0.05), texts(9, 1, 14)
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(ids)
    torch.testing.assert_close(logits.float(), model(ids), rtol=0, atol=0.02)


def test_dropout_acts_in_training_only() -> None:
    model, ids = make(dropout=0.5), texts(9, 9)
    assert torch.equal(model(ids), model(ids))
    assert not torch.equal(model.train()(ids), model(ids))
    whole = make(dropout=0.0, token_dropout=0.5).train()
    assert not torch.equal(whole(ids), whole(ids))


def test_flops_equal_pytorchs_counter() -> None:
    model = make(dropout=0.0)
    ids = torch.randint(PAD, (2, LENGTH), generator=torch.Generator().manual_seed(0))
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        model(ids).sum().backward()
    assert counter.get_total_flops() == 2 * model.flops_per_token(LENGTH)


def test_importing_and_validating_needs_no_torch() -> None:
    code = (
        "import sys, hvdtrain.models.transformer_encoder as m; m.Config(d_model=64); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "values", [{"n_heads": 3}, {"n_heads": 128}, {"n_kv_heads": 3}, {"dropout": 1.0}, {"token_dropout": -1.0}]
)
def test_values_that_do_not_fit_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(values))):
        Config(**values)


def test_data_that_is_no_text_is_refused() -> None:
    with pytest.raises(RecipeError, match="transformer_encoder: reads tokens, and the data of this recipe has images"):
        build(Config(), DataSpec(image=(1, 8, 8), outputs=2))
