"""What the GPT computes, held against a second GPT written here in plain float64 torch."""

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from hvdtrain.models import _transformer
from hvdtrain.models._gpt import GPT
from hvdtrain.models._spec import DataSpec
from hvdtrain.models._transformer import rotary_table, rotate
from hvdtrain.models.gpt import Config, build

VOCAB, LENGTH = 61, 24
SHAPES = {
    "multi-head": {"d_model": 32, "n_layers": 3, "n_heads": 4},
    "grouped": {"d_model": 48, "n_layers": 2, "n_heads": 6, "n_kv_heads": 2, "ffn_dim": 40},
    "multi-query": {"d_model": 32, "n_layers": 2, "n_heads": 4, "n_kv_heads": 1, "tie_embeddings": False},
    "other constants": {"d_model": 32, "n_layers": 1, "n_heads": 2, "rope_base": 50.0, "norm_eps": 0.1},
}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def make(seed: int = 0, length: int = LENGTH, **values: object) -> GPT:
    torch.manual_seed(seed)
    return build(
        Config(**{"d_model": 32, "n_layers": 2, "n_heads": 4, "init_std": 0.2} | values), DataSpec(VOCAB, length)
    )


def tokens(batch: int = 2, length: int = LENGTH, seed: int = 5) -> Tensor:
    return torch.randint(VOCAB, (batch, length), generator=torch.Generator().manual_seed(seed))


def reference_logits(config: Config, weights: dict[str, Tensor], inputs: Tensor) -> Tensor:
    """Logits (B, T, V) one head and one pair of channels at a time; `weights` are float64."""

    def norm(x: Tensor, weight: Tensor) -> Tensor:
        return x / torch.sqrt((x**2).sum(-1, keepdim=True) / config.d_model + config.norm_eps) * weight

    def turn(head: Tensor) -> Tensor:  # (B, T, D)
        out = torch.empty_like(head)
        for position in range(head.shape[1]):
            for pair in range(config.head_dim // 2):
                angle = position / config.rope_base ** (2 * pair / config.head_dim)
                matrix = torch.tensor(
                    [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]], dtype=head.dtype
                )
                out[:, position, 2 * pair : 2 * pair + 2] = head[:, position, 2 * pair : 2 * pair + 2] @ matrix.T
        return out

    def attention(x: Tensor, qkv: Tensor, out: Tensor) -> Tensor:
        width, group = config.head_dim, config.n_heads // config.kv_heads
        heads = [x @ rows.T for rows in qkv.split(width)]
        queries, keys = heads[: config.n_heads], heads[config.n_heads : config.n_heads + config.kv_heads]
        values = heads[config.n_heads + config.kv_heads :]
        later = torch.ones(x.shape[1], x.shape[1]).triu(1).bool()
        mixed = []
        for number, query in enumerate(queries):
            scores = turn(query) @ turn(keys[number // group]).transpose(1, 2) / math.sqrt(width)
            scores = scores.masked_fill(later, -math.inf).exp()
            mixed.append(scores / scores.sum(-1, keepdim=True) @ values[number // group])
        return torch.cat(mixed, -1) @ out.T

    x = weights["embedding.weight"][inputs]
    for layer in range(config.n_layers):
        block = {name.removeprefix(f"blocks.{layer}."): w for name, w in weights.items()}
        normed = norm(x, block["attention_norm.weight"])
        x = x + attention(normed, block["attention.qkv.weight"], block["attention.out.weight"])
        normed = norm(x, block["feed_forward_norm.weight"])
        gate, up = (normed @ rows.T for rows in block["feed_forward.gate_up.weight"].chunk(2))
        x = x + (gate / (1 + (-gate).exp()) * up) @ block["feed_forward.down.weight"].T
    last = weights["embedding.weight" if config.tie_embeddings else "output.weight"]
    return norm(x, weights["norm.weight"]) @ last.T


def randomise_norms(model: GPT) -> None:
    """Weights of one would hide a norm that forgets its weight."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.uniform_(0.5, 1.5)


@pytest.mark.parametrize("shape", SHAPES)
def test_logits_and_gradients_equal_the_reference(shape: str) -> None:
    model = make(**SHAPES[shape])
    randomise_norms(model)
    weights = {name: p.detach().double().requires_grad_() for name, p in model.named_parameters()}
    inputs = tokens()
    expected = reference_logits(model.config, weights, inputs)
    logits = model(inputs)
    assert logits.shape == (2, LENGTH, VOCAB)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits.double(), expected, rtol=1e-5, atol=1e-5)

    pull = torch.randn(expected.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    (expected * pull).sum().backward()
    (logits * pull.float()).sum().backward()
    for name, parameter in model.named_parameters():
        scale = weights[name].grad.abs().max()
        torch.testing.assert_close(parameter.grad.double() / scale, weights[name].grad / scale, rtol=0, atol=1e-5)


def test_a_token_changes_no_logits_before_it_and_all_after_it() -> None:
    model, inputs = make(n_kv_heads=2), tokens()
    changed = inputs.clone()
    changed[:, 9] = (changed[:, 9] + 1) % VOCAB
    difference = (model(inputs) - model(changed)).abs().amax(-1)
    assert difference[:, :9].max() == 0
    assert difference[:, 9:].min() > 1e-4


def test_scores_depend_on_the_distance_of_two_positions_only() -> None:
    query, key = torch.randn(2, 1, 1, 1, 16, generator=torch.Generator().manual_seed(0))
    rotation = torch.complex(*rotary_table(100, 16, 10_000.0)).unsqueeze(1)

    def score(at: int, other: int) -> Tensor:
        return (rotate(query, rotation[at : at + 1]) * rotate(key, rotation[other : other + 1])).sum()

    torch.testing.assert_close(score(7, 3), score(97, 93), rtol=1e-5, atol=1e-5)
    assert abs(score(7, 3) - score(8, 3)) > 1e-3


def test_rotary_angles_are_exact_at_far_positions() -> None:
    cos, sin = rotary_table(32_768, 64, 10_000.0)
    for position, pair in ((32_767, 0), (30_000, 1), (20_001, 5)):
        angle = position / 10_000 ** (2 * pair / 64)
        assert float(cos[position, pair]) == pytest.approx(math.cos(angle), abs=1e-6)
        assert float(sin[position, pair]) == pytest.approx(math.sin(angle), abs=1e-6)


def test_rotary_rounds_bf16_once() -> None:
    heads = torch.randn(1, 50, 2, 16, generator=torch.Generator().manual_seed(0)).bfloat16()
    rotation = torch.complex(*rotary_table(50, 16, 10_000.0)).unsqueeze(1)
    turned = rotate(heads, rotation)
    assert turned.dtype == torch.bfloat16
    assert torch.equal(turned, rotate(heads.float(), rotation).bfloat16())


@pytest.mark.parametrize("chunks", [[1] * LENGTH, [7, 1, 5, 11], [LENGTH]])
@pytest.mark.parametrize("shape", ["multi-head", "grouped", "multi-query"])
def test_reading_through_the_cache_equals_reading_at_once(shape: str, chunks: list[int]) -> None:
    model, inputs = make(**SHAPES[shape]).eval(), tokens(batch=3)
    with torch.no_grad():
        expected = model(inputs)
        cache = model.new_cache()
        parts = []
        for part in inputs.split(chunks, dim=1):
            parts.append(model(part, cache))
            assert cache.length == sum(p.shape[1] for p in parts)
    torch.testing.assert_close(torch.cat(parts, 1), expected, rtol=1e-5, atol=1e-5)


def test_more_tokens_than_the_model_sees_are_refused_and_leave_the_cache_as_it_was() -> None:
    model, inputs = make(), tokens(length=LENGTH + 1)
    with pytest.raises(ValueError, match=f"{LENGTH + 1} tokens.*at most {LENGTH}"):
        model(inputs)
    with torch.no_grad():
        cache = model.new_cache()
        model(inputs[:, :20], cache)
        with pytest.raises(ValueError, match="20 of them cached"):
            model(inputs[:, 20:], cache)
        assert cache.length == 20
        torch.testing.assert_close(model(inputs[:, 20:24], cache), model(inputs[:, :24])[:, 20:], rtol=1e-5, atol=1e-5)


def test_a_foreign_cache_is_refused() -> None:
    class Foreign:
        length = 0

    with pytest.raises(TypeError, match="Foreign"):
        make()(tokens(), Foreign())


def test_tied_embeddings_are_one_tensor_that_gathers_both_gradients() -> None:
    tied, free = make(), make(tie_embeddings=False)
    assert "output.weight" not in tied.state_dict()
    free.load_state_dict(tied.state_dict() | {"output.weight": tied.embedding.weight.detach().clone()})
    for model in (tied, free):
        model(tokens()).square().mean().backward()
    assert free.output is not None
    torch.testing.assert_close(tied.embedding.weight.grad, free.embedding.weight.grad + free.output.weight.grad)


def test_state_holds_parameters_only_each_once() -> None:
    model = make()
    state = model.state_dict()
    assert set(state) == {name for name, _ in model.named_parameters()}
    assert len({tensor.data_ptr() for tensor in state.values()}) == len(state)
    assert {tensor.dtype for tensor in state.values()} == {torch.float32}


def test_initial_weights_have_the_promised_scale() -> None:
    model = make(d_model=256, n_layers=8, init_std=0.05, tie_embeddings=False)
    for name, parameter in model.state_dict().items():
        if "norm" in name:
            assert torch.equal(parameter, torch.ones_like(parameter))
            continue
        into_stream = name.endswith(("attention.out.weight", "feed_forward.down.weight"))
        expected = 0.05 / math.sqrt(2 * 8) if into_stream else 0.05
        tolerance = 5 / math.sqrt(2 * parameter.numel())
        assert float(parameter.std()) == pytest.approx(expected, rel=tolerance), name
        assert abs(float(parameter.mean())) < 5 * expected / math.sqrt(parameter.numel()), name


def test_initial_loss_is_that_of_a_uniform_guess() -> None:
    model = make(init_std=0.02)
    loss = torch.nn.functional.cross_entropy(model(tokens()).flatten(0, 1), tokens(seed=6).flatten())
    assert float(loss.detach()) == pytest.approx(math.log(VOCAB), abs=0.05)


def test_weights_follow_the_global_seed() -> None:
    one, same, other = make(seed=1), make(seed=1), make(seed=2)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    assert not torch.equal(one.embedding.weight, other.embedding.weight)


def test_dropout_acts_in_training_only() -> None:
    model, plain, inputs = make(dropout=0.5), make(), tokens()
    assert torch.equal(model.eval()(inputs), plain(inputs))
    model.train()
    assert not torch.equal(model(inputs), model(inputs))


@pytest.mark.parametrize("kernel_below", [512, 0], ids=["float32 attention", "bf16 attention"])
def test_bf16_autocast_stays_close_to_float32(monkeypatch: pytest.MonkeyPatch, kernel_below: int) -> None:
    monkeypatch.setattr(_transformer, "_FLOAT32_ATTENTION_BELOW", kernel_below)
    model, inputs = make(n_layers=4, n_kv_heads=2, init_std=0.1), tokens()
    targets = tokens(seed=6).flatten()
    gradients, logits = {}, {}
    for name, enabled in (("fp32", False), ("bf16", True)):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            logits[name] = model(inputs)
            loss = torch.nn.functional.cross_entropy(logits[name].flatten(0, 1), targets)
        model.zero_grad()
        loss.backward()
        gradients[name] = torch.cat([p.grad.flatten() for p in model.parameters()])
    assert logits["bf16"].dtype == torch.bfloat16
    error = (logits["bf16"].float() - logits["fp32"]).norm() / logits["fp32"].norm()
    assert 0 < error < 0.02
    assert gradients["bf16"].dtype == torch.float32
    assert torch.nn.functional.cosine_similarity(gradients["bf16"], gradients["fp32"], dim=0) > 0.999


def test_under_autocast_norms_and_the_residual_stream_stay_float32() -> None:
    model = make()
    seen = {}
    for name, module in model.named_modules():
        if isinstance(module, (_transformer.Block, torch.nn.RMSNorm)):
            module.register_forward_hook(
                lambda m, args, out, name=name: seen.update({name: (args[0].dtype, out.dtype)})
            )
    with torch.autocast("cpu", torch.bfloat16):
        model(tokens())
    assert len(seen) == 7
    assert set(seen.values()) == {(torch.float32, torch.float32)}


def test_attention_leaves_autocast_only_where_float32_is_the_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = torch.zeros(1, 1, 511, 2)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert not _transformer.attention_in_float32(keys)
    with torch.autocast("cpu", torch.bfloat16):
        assert _transformer.attention_in_float32(keys)
        assert not _transformer.attention_in_float32(torch.zeros(1, 1, 512, 2))
        assert not _transformer.attention_in_float32(keys.to("meta"))
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
        assert not _transformer.attention_in_float32(keys)


def test_an_empty_batch_gives_no_logits_and_no_gradient() -> None:
    model = make(n_kv_heads=2)
    logits = model(torch.empty(0, LENGTH, dtype=torch.int64))
    assert logits.shape == (0, LENGTH, VOCAB)
    logits.sum().backward()
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())
