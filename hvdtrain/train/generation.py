"""Text from a language model, token by token: sampling, the KV cache and its window, and UTF-8 that never breaks."""

from __future__ import annotations

import codecs
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from hvdtrain.errors import NonFiniteError, UserError
from hvdtrain.models._language_model import Cache, LanguageModel

if TYPE_CHECKING:
    from hvdtrain.data.tokenizers._tokenizer import Tokenizer


def generate(
    model: nn.Module,
    tokenizer: Tokenizer,
    prompt: str,
    *,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int,
    device: torch.device | str | None = None,
) -> Iterator[str]:
    """Continue a prompt; yield the new text in pieces, as soon as their characters are complete.

    The joined pieces are the new tokens' bytes as UTF-8, with U+FFFD for bytes that are none. The text ends at the end
    of a document or after `max_new_tokens`. An empty prompt begins a document. The same seed gives the same text on the
    same device, and torch's global generators are neither read nor moved; between two pieces the model is in the mode
    (training or not) that it was in, with gradients as the caller had them.

    A model sees `max_seq_len` tokens at once. Once that many are read, the last half of them is read again as if the
    text began there, and the window grows again: the model always sees between half of `max_seq_len` and all of it.

    Args:
        model: a `LanguageModel`, on `device`.
        tokenizer: that of the model.
        prompt: text to continue.
        max_new_tokens: most tokens to add.
        temperature: see `sample_next`.
        top_k: see `sample_next`.
        top_p: see `sample_next`.
        seed: 0 to 2^64 - 1.
        device: where the model is; None asks its parameters.

    Raises:
        UserError: a value out of its range, or a model that does not write text; before the first piece is asked for.
        NonFiniteError: the model's output is not finite.
    """
    _check_sampling(temperature, top_k, top_p)
    _check_length_and_seed(max_new_tokens, seed)
    if not isinstance(model, LanguageModel):
        raise UserError(f"a {type(model).__name__} is not a language model, so it can't continue a text")
    reader = _Reader(model, torch.device(device) if device is not None else next(model.parameters()).device)
    reader.add(tokenizer.encode(prompt) or [tokenizer.eos_id])
    draw = partial(
        sample_next,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        generator=torch.Generator().manual_seed(seed),
    )
    return _text(tokenizer, _tokens(reader, draw, tokenizer.eos_id, max_new_tokens))


def _check_length_and_seed(max_new_tokens: int, seed: int) -> None:
    if max_new_tokens < 0:
        raise UserError(f"max_new_tokens is {max_new_tokens}; expected 0 or more")
    if not 0 <= seed < 2**64:
        raise UserError(f"seed is {seed}; expected 0 to 2^64 - 1")


def sample_next(
    logits: Tensor,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: torch.Generator,
) -> int:
    """Draw one token from logits (V,).

    The three act in this order, each on what the one before left, renormalised: `temperature` divides the logits (0
    takes the most likely token and draws nothing); `top_k` keeps the k most likely tokens; `top_p` keeps the fewest of
    the most likely tokens whose probabilities sum to at least p (https://arxiv.org/abs/1904.09751). Among equal logits
    the lower id counts as the more likely. Sampling is done on the CPU in float64: where a GPU's logits differ from a
    CPU's in the last bits, the draws still agree but for the rarest.

    Raises:
        UserError: a value out of its range.
        NonFiniteError: a logit is not a number or +inf, or all are -inf.
    """
    _check_sampling(temperature, top_k, top_p)
    logits = logits.detach().to(device="cpu", dtype=torch.float64)
    ordered, ids = logits.sort(descending=True, stable=True)
    # NaN sorts before everything, so one look at the first finds it
    if not torch.isfinite(ordered[0]):
        raise NonFiniteError(
            f"the model's largest logit is {float(ordered[0])}, so no token can be drawn: its weights are damaged"
        )
    if temperature == 0:
        return int(ids[0])
    # the largest is subtracted first: a temperature near 0 then gives -inf and never inf - inf
    weights = ((ordered[:top_k] - ordered[0]) / temperature).exp()
    sums = weights.cumsum(0)
    if top_p is not None:
        kept = int((sums < top_p * sums[-1]).sum()) + 1
        sums = sums[:kept]
    point = torch.rand((), generator=generator, dtype=torch.float64) * sums[-1]
    index = int(torch.searchsorted(sums, point, right=True))
    return int(ids[min(index, len(sums) - 1)])


class _Reader:
    """Feeds tokens to a model through its cache; `logits()` are those after all tokens added so far."""

    def __init__(self, model: LanguageModel, device: torch.device) -> None:
        self._model = model
        self._device = device
        self._cache: Cache = model.new_cache()
        self._window: list[int] = []

    def add(self, tokens: list[int]) -> None:
        """Append tokens; of a text longer than the model can see, the last tokens count."""
        first = not self._window
        self._window.extend(tokens[-self._model.max_seq_len :] if first else tokens)

    def logits(self) -> Tensor:
        """Return the logits (V,) of the token that comes next."""
        if len(self._window) > self._model.max_seq_len:
            self._window = self._window[-max(1, self._model.max_seq_len // 2) :]
            self._cache = self._model.new_cache()
        unread = self._window[self._cache.length :]
        inputs = torch.tensor([unread], dtype=torch.int64, device=self._device)
        with _evaluating(self._model), torch.inference_mode():
            return self._model(inputs, self._cache)[0, -1]  # type: ignore[no-any-return]


def _tokens(reader: _Reader, draw: Callable[[Tensor], int], eos_id: int, limit: int) -> Iterator[int]:
    for _ in range(limit):
        token = draw(reader.logits())
        if token == eos_id:
            return
        reader.add([token])
        yield token


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Put every module in evaluation mode and each back into the mode that it was in."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _text(tokenizer: Tokenizer, tokens: Iterator[int]) -> Iterator[str]:
    """Decode tokens as they come, holding back the bytes of a character until its last one."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    for token in tokens:
        piece = decoder.decode(tokenizer.decode_bytes([token]))
        if piece:
            yield piece
    rest = decoder.decode(b"", final=True)
    if rest:
        yield rest


def _check_sampling(temperature: float, top_k: int | None, top_p: float | None) -> None:
    if not (temperature >= 0 and math.isfinite(temperature)):
        raise UserError(f"temperature is {temperature}; expected 0 (the most likely token) or a positive number")
    if top_k is not None and top_k < 1:
        raise UserError(f"top_k is {top_k}; expected 1 or more, or nothing to keep all tokens")
    if top_p is not None and not 0 < top_p <= 1:
        raise UserError(f"top_p is {top_p}; expected more than 0 and at most 1, or nothing to keep all tokens")
