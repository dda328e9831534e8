"""What RNN and LSTM share: order in time, the state as cache, dropout, generation, what they cost, equal sizes."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from hvdtrain import registry
from hvdtrain.data.tokenizers._tokenizer import Tokenizer
from hvdtrain.data.tokenizers.bytes import ByteTokenizer
from hvdtrain.models._recurrent import RecurrentLanguageModel, StateCache
from hvdtrain.models._spec import DataSpec
from hvdtrain.models._transformer import KVCache
from hvdtrain.recipe import load
from hvdtrain.train.generation import generate

ROOT = Path(__file__).parents[3]
VOCAB, LENGTH = 29, 16
KINDS = ["rnn", "lstm"]

pytestmark = pytest.mark.parametrize("kind", KINDS)


def make(kind: str, vocab: int = VOCAB, **values: object) -> RecurrentLanguageModel:
    torch.manual_seed(0)
    module = registry.find("models", kind)
    config = module.Config(**{"d_model": 16, "hidden_dim": 12, "n_layers": 2} | values)
    model: RecurrentLanguageModel = module.build(config, DataSpec(vocab, LENGTH))
    return model


def tokens(batch: int = 3, length: int = LENGTH) -> Tensor:
    return torch.randint(VOCAB, (batch, length), generator=torch.Generator().manual_seed(2))


def test_a_token_changes_no_logits_before_it_and_all_after_it(kind: str) -> None:
    model, inputs = make(kind), tokens()
    changed = inputs.clone()
    changed[:, 6] = (changed[:, 6] + 1) % VOCAB
    difference = (model(inputs) - model(changed)).abs().amax(-1)
    assert difference[:, :6].max() == 0
    assert difference[:, 6:].min() > 1e-6


@pytest.mark.parametrize("chunks", [[1] * LENGTH, [5, 1, 10], [LENGTH]])
def test_reading_in_pieces_equals_reading_at_once(kind: str, chunks: list[int]) -> None:
    model, inputs = make(kind), tokens()
    cache = model.new_cache()
    assert cache.length == 0
    pieces = [model(piece, cache) for piece in inputs.split(chunks, 1)]
    assert cache.length == LENGTH
    torch.testing.assert_close(torch.cat(pieces, 1), model(inputs), rtol=1e-5, atol=1e-6)


def test_a_cache_belongs_to_one_text_and_one_architecture(kind: str) -> None:
    model, inputs = make(kind), tokens()
    model(inputs, model.new_cache())
    torch.testing.assert_close(model(inputs, model.new_cache()), model(inputs), rtol=1e-5, atol=1e-6)
    with pytest.raises(TypeError, match="not a KVCache"):
        model(inputs, KVCache(2, LENGTH))


def test_more_tokens_than_the_model_sees_are_refused(kind: str) -> None:
    model = make(kind)
    with pytest.raises(ValueError, match=f"17 tokens, 0 of them cached, .* at most {LENGTH}"):
        model(tokens(length=LENGTH + 1))
    cache = model.new_cache()
    model(tokens(length=10), cache)
    with pytest.raises(ValueError, match="17 tokens, 10 of them cached"):
        model(tokens(length=7), cache)
    assert cache.length == 10


def test_dropout_is_between_layers_and_in_training_only(kind: str) -> None:
    model, inputs = make(kind, dropout=0.4), tokens()
    assert model.layers.dropout == 0.4
    assert make(kind, dropout=0.4, n_layers=1).layers.dropout == 0.0
    assert not torch.equal(model(inputs), model(inputs))
    torch.testing.assert_close(model.eval()(inputs), make(kind)(inputs), rtol=0, atol=0)


def test_dropout_leaves_the_way_from_one_time_to_the_next_alone(kind: str) -> None:
    """With one layer, what dropout takes is at the inputs and the output; a state that it took would not come back."""
    model = make(kind, dropout=0.99, n_layers=1, hidden_dim=64)
    with torch.no_grad():
        model.layers.weight_ih_l0.zero_()
        model.layers.bias_ih_l0.fill_(0.5)
    cache = model.new_cache()
    model(tokens(), cache)
    state = cache.state[0] if kind == "lstm" else cache.state
    assert (state != 0).all()
    without = make(kind, n_layers=1, hidden_dim=64)
    without.load_state_dict(model.state_dict())
    expected: Any = without.new_cache()
    without(tokens(), expected)
    torch.testing.assert_close(state, expected.state[0] if kind == "lstm" else expected.state)


def test_text_is_generated_beyond_the_window(kind: str) -> None:
    tokenizer: Tokenizer = ByteTokenizer()
    model = make(kind, vocab=tokenizer.vocab_size)
    with torch.no_grad():
        model.output_bias[tokenizer.eos_id] = -1e9

    def text(count: int) -> str:
        return "".join(generate(model, tokenizer, "ab", max_new_tokens=count, temperature=0, seed=1))

    assert len(text(3 * LENGTH).encode("utf-8", errors="replace")) >= 3 * LENGTH
    window = list(b"ab")
    for _ in range(8):  # one token at a time, everything read again: no cache takes part
        window.append(int(model(torch.tensor([window]))[0, -1].argmax()))
    assert tokenizer.decode(window[2:]) == text(8)


def test_an_empty_batch_gives_no_logits_and_no_gradient(kind: str) -> None:
    model = make(kind, dropout=0.1)
    for autocast in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            logits = model(torch.empty(0, LENGTH, dtype=torch.int64))
        assert logits.shape == (0, LENGTH, VOCAB)
        logits.float().sum().backward()
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())


def test_bf16_is_near_float32(kind: str) -> None:
    model, inputs = make(kind, d_model=64, hidden_dim=64), tokens()
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(inputs)
        with torch.inference_mode():
            inferred = model(inputs, model.new_cache())
    assert logits.dtype == torch.bfloat16
    torch.testing.assert_close(logits.float(), model(inputs), rtol=0, atol=0.05)
    torch.testing.assert_close(inferred.float(), model(inputs), rtol=0, atol=0.05)


@pytest.mark.parametrize("tied", [True, False])
def test_parameters_and_flops_equal_the_formulas(kind: str, tied: bool) -> None:
    gates = {"rnn": 1, "lstm": 4}[kind]
    layers = gates * (16 * 12 + 12 * 12 + 2 * 12 * 12)
    out = 16 * 12 + 16 * VOCAB if tied else 12 * VOCAB
    biases = 2 * 2 * gates * 12 + VOCAB
    model = make(kind, tie_embeddings=tied)
    assert model.num_parameters() == layers + out + biases + (0 if tied else 16 * VOCAB)
    assert model.num_matmul_parameters() == layers + out
    assert model.flops_per_token(LENGTH) == model.flops_per_token(1) == 6 * (layers + out)


def test_flops_equal_those_of_the_cell_as_matrix_products(kind: str) -> None:
    """PyTorch's counter does not see into its recurrent layers, but it sees the products of a cell written out."""
    gates, batch = {"rnn": 1, "lstm": 4}[kind], 3
    model = make(kind, n_layers=1, d_model=12)
    x, h = (torch.randn(batch, 12, requires_grad=True) for _ in range(2))
    w, u = (torch.randn(gates * 12, 12, requires_grad=True) for _ in range(2))
    out = torch.randn(VOCAB, 12, requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        ((x @ w.T + h @ u.T)[:, :12].tanh() @ out.T).sum().backward()
    assert counter.get_total_flops() == batch * model.flops_per_token(LENGTH)


def test_the_recipe_has_the_parameters_tokens_and_data_of_the_gpts(kind: str) -> None:
    own, gpt = (load(str(ROOT / "recipes" / f"{name}-shakespeare.yaml"), []).recipe for name in (kind, "gpt"))
    sizes = []
    for recipe in (own, gpt):
        spec = DataSpec(recipe.tokenizer.vocab_size, recipe.data.max_seq_len)
        sizes.append(registry.find("models", recipe.model.name).build(recipe.model, spec).num_parameters())
    assert abs(sizes[0] - sizes[1]) <= 0.05 * sizes[1]
    assert (own.data, own.tokenizer, own.seed) == (gpt.data, gpt.tokenizer, gpt.seed)
    assert (own.train.global_batch_size, own.train.max_steps) == (gpt.train.global_batch_size, gpt.train.max_steps)


def test_a_cache_that_was_not_used_is_empty(kind: str) -> None:
    cache = make(kind).new_cache()
    assert isinstance(cache, StateCache)
    assert (cache.length, cache.state) == (0, None)
