"""The encoder-decoder transformer, held against a second one written here in plain float64 torch, a text at a time."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from hvdtrain.errors import RecipeError
from hvdtrain.models._seq2seq import Transformer
from hvdtrain.models._spec import DataSpec
from hvdtrain.models.transformer import Config, build

VOCAB, PAD, LENGTH = 23, 22, 12
SMALL = {"d_model": 16, "n_encoder_layers": 2, "n_decoder_layers": 2, "n_heads": 2, "ffn_dim": 20}


def make(**values: object) -> Transformer:
    """A model in evaluation mode in which no parameter is a one or a zero, which would hide what is forgotten."""
    torch.manual_seed(0)
    model = build(Config(**SMALL | values), DataSpec(VOCAB, LENGTH, PAD)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name or "bias" in name:
                parameter.uniform_(0.5, 1.5)
    return model


def sources(*lengths: int) -> Tensor:
    """Ids of texts of these lengths, the end of text among them, padded to the longest."""
    generator = torch.Generator().manual_seed(sum(lengths))
    ids = torch.full((len(lengths), max(lengths)), PAD)
    for row, length in enumerate(lengths):
        ids[row, : length - 1] = torch.randint(PAD, (length - 1,), generator=generator)
    return ids


def inputs(*lengths: int) -> Tensor:
    """What precedes the targets of such texts: they begin with the end of text."""
    return sources(*lengths).roll(1, dims=1)


def reference_logits(config: Config, weights: dict[str, Tensor], source: list[int], target: list[int]) -> Tensor:
    """Logits (T, V) of one pair without padding, a head and a query at a time; `weights` are float64."""
    width, heads = config.d_model, config.n_heads
    head = width // heads

    def norm(x: Tensor, name: str) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        return (
            centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt() * weights[name + ".weight"]
            + (weights[name + ".bias"])
        )

    def embed(ids: list[int], name: str) -> Tensor:
        rows = []
        for place, token in enumerate(ids):
            angles = [place / 10_000 ** (2 * (i // 2) / width) for i in range(width)]
            wave = [math.cos(a) if i % 2 else math.sin(a) for i, a in enumerate(angles)]
            rows.append(weights[name][token] * math.sqrt(width) + torch.tensor(wave, dtype=torch.float64))
        return torch.stack(rows)

    def attend(x: Tensor, to: Tensor, name: str, causal: bool) -> Tensor:
        queries = x @ weights[f"{name}.query.weight"].T
        key_rows, value_rows = weights[f"{name}.key_value.weight"].split(width)
        keys, values = to @ key_rows.T, to @ value_rows.T
        out = torch.zeros_like(x)
        for place in range(len(x)):
            seen = place + 1 if causal else len(to)
            for number in range(heads):
                at = slice(number * head, (number + 1) * head)
                scores = keys[:seen, at] @ queries[place, at] / math.sqrt(head)
                out[place, at] = scores.softmax(0) @ values[:seen, at]
        return out @ weights[f"{name}.out.weight"].T

    def feed(x: Tensor, name: str) -> Tensor:
        inner = (x @ weights[f"{name}.0.weight"].T + weights[f"{name}.0.bias"]).clamp(min=0)
        return inner @ weights[f"{name}.2.weight"].T + weights[f"{name}.2.bias"]

    memory = embed(source, "source_embedding.weight")
    for layer in range(config.n_encoder_layers):
        block = f"encoder.{layer}"
        normed = norm(memory, f"{block}.attention_norm")
        memory = memory + attend(normed, normed, f"{block}.attention", causal=False)
        memory = memory + feed(norm(memory, f"{block}.feed_forward_norm"), f"{block}.feed_forward")
    memory = norm(memory, "encoder_norm")
    tied = config.tie_embeddings
    x = embed(target, "source_embedding.weight" if tied else "target_embedding.weight")
    for layer in range(config.n_decoder_layers):
        block = f"decoder.{layer}"
        normed = norm(x, f"{block}.attention_norm")
        x = x + attend(normed, normed, f"{block}.attention", causal=True)
        normed = norm(x, f"{block}.memory_attention_norm")
        x = x + attend(normed, memory, f"{block}.memory_attention", causal=False)
        x = x + feed(norm(x, f"{block}.feed_forward_norm"), f"{block}.feed_forward")
    return norm(x, "decoder_norm") @ weights["source_embedding.weight" if tied else "output.weight"].T


@pytest.mark.parametrize(
    "values",
    [{}, {"tie_embeddings": False}, {"n_heads": 4, "n_encoder_layers": 1, "n_decoder_layers": 3, "ffn_dim": None}],
    ids=str,
)
def test_logits_of_a_padded_batch_equal_the_reference_text_by_text(values: dict[str, object]) -> None:
    model, source_lengths, target_lengths = make(**values), (9, 1, 12, 4), (3, 12, 1, 7)
    weights = {name: p.detach().double() for name, p in model.named_parameters()}
    source, target = sources(*source_lengths), inputs(*target_lengths)
    logits = model(source, target)
    assert logits.shape == (4, 12, VOCAB)
    for row, (reads, writes) in enumerate(zip(source_lengths, target_lengths, strict=True)):
        expected = reference_logits(model.config, weights, source[row, :reads].tolist(), target[row, :writes].tolist())
        torch.testing.assert_close(logits[row, :writes].double(), expected, rtol=1e-5, atol=1e-5)


def test_more_padding_changes_no_result_and_no_gradient() -> None:
    model, source, target = make(), sources(7, 3), inputs(5, 2)
    wide, long = torch.cat([source, torch.full((2, 5), PAD)], 1), torch.cat([target, torch.full((2, 4), PAD)], 1)
    parameters = list(model.parameters())
    narrow_logits, wide_logits = model(source, target), model(wide, long)[:, :5]
    torch.testing.assert_close(wide_logits, narrow_logits, rtol=0, atol=1e-5)
    for one, other in zip(
        torch.autograd.grad(narrow_logits.square().sum(), parameters),
        torch.autograd.grad(wide_logits.square().sum(), parameters),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-3)


def test_the_end_of_the_source_is_read_and_what_follows_is_not() -> None:
    model, target = make(), inputs(4)
    ended = torch.tensor([[1, 2, PAD, 5]])
    torch.testing.assert_close(model(ended, target), model(ended[:, :3], target), rtol=0, atol=1e-5)
    assert (model(ended[:, :3], target) - model(ended[:, :2], target)).abs().max() > 1e-3


def test_a_target_token_changes_what_follows_and_nothing_before() -> None:
    model, source, target = make(), sources(6), inputs(8)
    before = model(source, target)
    for place in range(1, 8):
        changed = target.clone()
        changed[0, place] = (target[0, place] + 1) % PAD
        difference = (model(source, changed) - before).abs().amax((0, 2))
        assert difference[:place].max() < 1e-5
        assert difference[place:].min() > 1e-5


def test_every_source_token_changes_every_target() -> None:
    model, source, target = make(), sources(6), inputs(8)
    before = model(source, target)
    for place in range(5):
        changed = source.clone()
        changed[0, place] = (source[0, place] + 1) % PAD
        assert (model(changed, target) - before).abs().amax((0, 2)).min() > 1e-5


@pytest.mark.parametrize("hypotheses", [1, 3])
def test_decoding_by_tokens_equals_the_whole_forward(hypotheses: int) -> None:
    """Through a change of hypotheses and the end of a source, as beam search asks for them."""
    model, source = make(), sources(5, 9, 2)
    decoding = model.start(source, hypotheses)
    generator = torch.Generator().manual_seed(3)
    kept = torch.arange(3)
    texts = torch.empty(3, hypotheses, 0, dtype=torch.int64)
    tokens = torch.full((3, hypotheses), PAD)
    with torch.no_grad():
        for step in range(6):
            texts = torch.cat([texts, tokens[:, :, None]], 2)
            logits = decoding.step(tokens)
            for row, number in enumerate(kept.tolist()):
                whole = model(source[number].expand(hypotheses, -1), texts[row])[:, -1]
                torch.testing.assert_close(logits[row], whole, rtol=1e-5, atol=1e-5)
            origins = torch.randint(hypotheses, (len(kept), hypotheses), generator=generator)
            decoding.reorder(origins)
            texts = texts.gather(1, origins[:, :, None].expand_as(texts))
            if step in (1, 3):
                going = torch.tensor([0, 2] if step == 1 else [1])
                decoding.keep(going)
                kept, texts = kept[going], texts[going]
            tokens = torch.randint(PAD, (len(kept), hypotheses), generator=generator)


def test_parameters_are_as_many_as_the_shape_says() -> None:
    def count(model: torch.nn.Module) -> int:
        return sum(p.numel() for p in model.parameters())

    width, inner = 16, 20
    attention, norm, feed = 4 * width**2, 2 * width, 2 * width * inner + inner + width
    stacks = 2 * (attention + feed + 2 * norm) + 2 * (2 * attention + feed + 3 * norm) + 2 * norm
    assert count(make()) == stacks + VOCAB * width
    assert count(make(tie_embeddings=False)) == stacks + 3 * VOCAB * width


@pytest.mark.parametrize("tie", [True, False])
def test_a_gradient_reaches_every_weight(tie: bool) -> None:
    model = make(tie_embeddings=tie, dropout=0.1).train()
    model(sources(9, 4), inputs(6, 8)).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        rows = parameter.grad if "embedding" not in name else parameter.grad.any()
        assert rows.any(), name
    for block in (*model.encoder, *model.decoder):
        keys, values = block.attention.key_value.weight.grad.split(16)
        assert keys.any()
        assert values.any()


def test_weights_depend_on_the_seed_alone_and_logits_begin_at_unit_size() -> None:
    def fresh(seed: int) -> Transformer:
        torch.manual_seed(seed)
        return build(Config(d_model=64, dropout=0.0), DataSpec(500, 32, 499))

    first, second, other = (fresh(seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["source_embedding.weight"], other["source_embedding.weight"])
    ids = torch.randint(499, (8, 32))
    assert 0.5 < fresh(0)(ids, ids).std() < 2


def test_dropout_acts_in_training_only() -> None:
    model, pair = make(dropout=0.5), (sources(9, 9), inputs(5, 5))
    assert torch.equal(model(*pair), model(*pair))
    assert not torch.equal(model.train()(*pair), model(*pair))


def test_an_empty_batch_gives_no_rows_and_no_gradient() -> None:
    model = make(dropout=0.1).train()
    for autocast in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            empty = torch.empty(0, 1, dtype=torch.int64)
            logits = model(empty, empty)
        assert logits.shape == (0, 1, VOCAB)
        logits.float().sum().backward()
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())


def test_bf16_is_near_float32() -> None:
    torch.manual_seed(0)
    model = build(Config(**SMALL), DataSpec(VOCAB, LENGTH, PAD)).eval()
    pair = (sources(9, 1, 12), inputs(4, 8, 2))
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(*pair)
    torch.testing.assert_close(logits.float(), model(*pair), rtol=0, atol=0.1)


def test_more_tokens_than_the_model_sees_are_refused() -> None:
    model = make()
    for pair in ((sources(13), inputs(3)), (sources(3), inputs(13))):
        with pytest.raises(ValueError, match="a text of 13 tokens or more, but the model sees at most 12"):
            model(*pair)
    decoding = model.start(sources(3), 1)
    for _ in range(12):
        decoding.step(torch.tensor([[1]]))
    with pytest.raises(ValueError, match="at most 12"):
        decoding.step(torch.tensor([[1]]))


def test_importing_and_validating_needs_no_torch() -> None:
    code = "import sys, hvdtrain.models.transformer as m; m.Config(d_model=64); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("values", [{"n_heads": 3}, {"d_model": 7}, {"dropout": 1.0}, {"n_decoder_layers": 0}])
def test_values_that_do_not_fit_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(values))):
        Config(**values)


def test_data_that_is_no_text_is_refused() -> None:
    with pytest.raises(RecipeError, match="transformer: reads tokens, and the data of this recipe has images"):
        build(Config(), DataSpec(image=(1, 8, 8), outputs=2))
