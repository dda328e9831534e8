"""Generation held against a slow loop that reads its whole window anew for each token, and what it leaves alone."""

import math
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from hvdtrain.errors import UserError
from hvdtrain.models._language_model import LanguageModel
from hvdtrain.models._spec import DataSpec
from hvdtrain.models.gpt import Config, build
from hvdtrain.train.generation import generate, sample_next

EOS = 256


class Bytes:
    """The least of a tokenizer: each byte is a token."""

    eos_id = EOS

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def decode_bytes(self, ids: list[int]) -> bytes:
        return bytes(ids)


class Scripted(LanguageModel):
    """Says given tokens, whatever it reads; remembers what it was given and in which state."""

    def __init__(self, script: list[int], vocab_size: int = 257) -> None:
        super().__init__()
        self.vocab_size, self.max_seq_len = vocab_size, 1000
        self.dropout = torch.nn.Dropout(0.5)
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.script = script
        self.read: list[list[int]] = []
        self.states: set[tuple[bool, bool]] = set()

    def new_cache(self) -> "Scripted.Cache":
        return Scripted.Cache()

    class Cache:
        length = 0

    def forward(self, inputs: Tensor, cache: "Scripted.Cache | None" = None) -> Tensor:
        assert cache is not None
        self.read.append(inputs[0].tolist())
        self.states.add((self.dropout.training, torch.is_inference_mode_enabled()))
        cache.length += inputs.shape[1]
        logits = torch.zeros(1, inputs.shape[1], self.vocab_size)
        logits[0, -1, self.script[len(self.read) - 1]] = 50.0
        return logits

    def num_matmul_parameters(self) -> int:
        return 0

    def flops_per_token(self, seq_len: int) -> float:
        return 0.0


def say(script: list[int], prompt: str = "x", limit: int = 100, **sampling: object) -> list[str]:
    return list(generate(Scripted(script), Bytes(), prompt, max_new_tokens=limit, seed=0, **sampling))


def gpt(length: int = 8, **values: object) -> LanguageModel:
    torch.manual_seed(0)
    config = Config(**{"d_model": 32, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "init_std": 0.3} | values)
    return build(config, DataSpec(257, length))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"temperature": -0.1}, "temperature is -0.1"),
        ({"temperature": math.nan}, "temperature is nan"),
        ({"temperature": math.inf}, "temperature is inf"),
        ({"top_k": 0}, "top_k is 0"),
        ({"top_p": 0.0}, "top_p is 0.0"),
        ({"top_p": 1.5}, "top_p is 1.5"),
        ({"top_p": math.nan}, "top_p is nan"),
        ({"max_new_tokens": -1}, "max_new_tokens is -1"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**64}, "seed is 1844"),
    ],
)
def test_values_out_of_range_are_refused_before_anything_is_read(values: dict[str, float], said: str) -> None:
    model = Scripted([65])
    with pytest.raises(UserError, match=said):
        generate(model, Bytes(), "x", **{"max_new_tokens": 5, "seed": 0} | values)
    assert model.read == []


def test_a_model_that_writes_no_text_is_refused() -> None:
    with pytest.raises(UserError, match="Linear is not a language model"):
        generate(torch.nn.Linear(2, 2), Bytes(), "x", max_new_tokens=1, seed=0)


# --- text


def test_pieces_are_whole_characters() -> None:
    text = "h\u00e9 \u20ac\U0001f600!"
    assert say([*text.encode(), EOS]) == list(text)


def test_bytes_that_are_no_text_become_replacement_characters() -> None:
    assert "".join(say([0x41, 0xFF, 0xC3, 0x42, EOS])) == "A\ufffd\ufffdB"


def test_a_character_cut_by_the_limit_is_closed() -> None:
    assert say(list("a\u20ac".encode()), limit=3) == ["a", "\ufffd"]


def test_the_end_of_a_document_ends_the_text_and_is_not_part_of_it() -> None:
    assert "".join(say([72, 105, EOS, 72])) == "Hi"
    assert say([EOS]) == []


def test_the_limit_counts_tokens_and_zero_reads_nothing() -> None:
    assert "".join(say([65] * 10, limit=4)) == "AAAA"
    model = Scripted([65])
    assert list(generate(model, Bytes(), "x", max_new_tokens=0, seed=0)) == []
    assert model.read == []


def test_the_model_reads_the_prompt_once_and_then_each_new_token() -> None:
    model = Scripted([66, 67, EOS])
    list(generate(model, Bytes(), "Az", max_new_tokens=9, seed=0))
    assert model.read == [[65, 122], [66], [67]]


def test_an_empty_prompt_begins_a_document() -> None:
    model = Scripted([EOS])
    list(generate(model, Bytes(), "", max_new_tokens=9, seed=0))
    assert model.read == [[EOS]]


# --- the window


def slow_generation(
    model: LanguageModel, prompt: list[int], limit: int, draw: Callable[[Tensor], int]
) -> Iterator[int]:
    """No cache: the whole window is read for each token."""
    size = model.max_seq_len
    window = prompt[-size:]
    for _ in range(limit):
        if len(window) > size:
            window = window[-(size // 2) :]
        with torch.no_grad():
            token = draw(model(torch.tensor([window]))[0, -1])
        if token == EOS:
            return
        yield token
        window = [*window, token]


@pytest.mark.parametrize(
    "prompt", ["a", "abcdefg", "abcdefgh", "abcdefghi", "a prompt that is longer than the model sees"]
)
def test_text_longer_than_the_model_sees_equals_the_slow_loop(prompt: str) -> None:
    model = gpt(length=8).eval()
    generator = torch.Generator().manual_seed(4)
    expected = list(slow_generation(model, list(prompt.encode()), 30, lambda z: sample_next(z, generator=generator)))
    assert len(expected) > 20
    text = "".join(generate(model, Bytes(), prompt, max_new_tokens=30, seed=4))
    assert text == bytes(expected).decode("utf-8", "replace")


# --- what it leaves alone


def test_the_same_seed_repeats_and_another_differs() -> None:
    model = gpt()

    def text(seed: int) -> str:
        return "".join(generate(model, Bytes(), "abc", max_new_tokens=30, seed=seed))

    first = text(1)
    torch.manual_seed(99)
    assert text(1) == first
    assert text(2) != first


def test_global_random_state_does_not_move() -> None:
    model = gpt(dropout=0.5).train()
    before = torch.get_rng_state()
    list(generate(model, Bytes(), "abc", max_new_tokens=10, seed=1))
    assert torch.equal(torch.get_rng_state(), before)


def test_dropout_is_off_while_generating() -> None:
    def text(model: LanguageModel) -> str:
        return "".join(generate(model, Bytes(), "abc", max_new_tokens=10, seed=1))

    assert text(gpt(dropout=0.5).train()) == text(gpt().eval())


def test_between_two_pieces_the_caller_finds_its_own_modes() -> None:
    model = Scripted([65, 66, 67])
    model.train()
    model.dropout.eval()  # a frozen part stays frozen
    pieces = generate(model, Bytes(), "x", max_new_tokens=3, seed=0)
    next(pieces)
    assert (model.training, model.dropout.training) == (True, False)
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()
    (model.weight * 2).backward()
    list(pieces)
    assert model.states == {(False, True)}


def test_modes_come_back_after_an_error() -> None:
    model = Scripted([65]).train()  # the script ends before the limit
    with pytest.raises(IndexError):
        list(generate(model, Bytes(), "x", max_new_tokens=3, seed=0))
    assert model.training
    assert model.dropout.training


def test_training_goes_on_after_generating_inside_autocast() -> None:
    model = gpt().train()
    with torch.autocast("cpu", torch.bfloat16):
        assert "".join(generate(model, Bytes(), "abc", max_new_tokens=12, temperature=0, seed=0))
    with torch.autocast("cpu", torch.bfloat16):
        model(torch.tensor([[1, 2, 3]])).float().sum().backward()
    assert all(p.grad is not None for p in model.parameters())
