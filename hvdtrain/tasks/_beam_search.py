"""Beam search: the most probable text that a model can write, as far as a few hypotheses at a time can find it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Growing(Protocol):
    """Texts that grow by a token at a time: B of them, K hypotheses each."""

    def step(self, tokens: Tensor) -> Tensor:
        """Append a token (B, K) to each hypothesis; return logits (B, K, V) of the next one."""
        ...

    def reorder(self, origins: Tensor) -> None:
        """Let hypothesis k of text b go on from what was hypothesis `origins[b, k]`, (B, K)."""
        ...

    def keep(self, sources: Tensor) -> None:
        """Go on with some of the texts only, by their numbers (B',)."""
        ...


@dataclass(frozen=True)
class Found:
    """A text's token ids, without its end, and its log probability in nats, with its end."""

    tokens: list[int]
    log_probability: float


@torch.no_grad()
def beam_search(
    growing: Growing, limits: Tensor, *, end: int, beam_size: int, length_penalty: float = 0.0
) -> list[Found]:
    """Return the best text for each of B sources; the same model and sources give the same texts.

    Of all continuations of the `beam_size` best unfinished hypotheses those `beam_size` best ones that don't end go on;
    one that ends, and is among the `beam_size` best of all, is finished. A source is done when as many have finished,
    or when no unfinished one can become better than the best finished one. At its limit a text must end. So a beam of
    one is greedy choice, and one as wide as there are texts is exact.

    Args:
        growing: the texts' beginnings, with `beam_size` hypotheses each.
        limits: (B,) int64, the most tokens of each text, its end included; at least 1.
        end: id of the end of a text, also what texts begin with.
        beam_size: K.
        length_penalty: alpha: finished hypotheses are compared by log probability / ((5 + tokens) / 6)^alpha, the
            end being one of the tokens (Wu et al. 2016, https://arxiv.org/abs/1609.08144, equation 14).
    """
    if not len(limits):
        return []
    search = _Search(limits, end, beam_size, length_penalty)
    tokens = torch.full((len(limits), beam_size), end, device=limits.device)
    while True:
        origins, tokens = search.advance(growing.step(tokens))
        going = search.going()
        if not len(going):
            return search.found()
        growing.reorder(origins)
        if len(going) < len(tokens):
            growing.keep(going)
            search.keep(going)
            tokens = tokens[going]


class _Search:
    """What is known of the texts: unfinished hypotheses of those that go on, and the best finished one of each.

    B of the sources still go on, `_numbers` being their numbers among all; of these the state is
    `_live` (B, K): log probabilities of unfinished hypotheses, -inf where there is none;
    `_texts` (B, K, longest limit): their tokens;
    `_finished` (B,): how many hypotheses have finished;
    `_best` and `_best_log_probability` (B,), `_best_text` (B, longest limit): of the best one.
    """

    def __init__(self, limits: Tensor, end: int, beam_size: int, length_penalty: float) -> None:
        self._end, self._beam_size, self._alpha = end, beam_size, length_penalty
        count, longest, device = len(limits), int(limits.max()), limits.device
        self._numbers = torch.arange(count, device=device)
        self._limits = limits
        self._length = 0
        self._live = torch.full((count, beam_size), -torch.inf, device=device)
        self._live[:, 0] = 0.0
        self._texts = torch.full((count, beam_size, longest), end, device=device)
        self._finished = torch.zeros(count, dtype=torch.int64, device=device)
        self._best = torch.full((count,), -torch.inf, device=device)
        self._best_log_probability = self._best.clone()
        self._best_text = self._texts[:, 0].clone()
        self._found: list[Found] = [Found([], -torch.inf)] * count

    def advance(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Take the best continuations, by logits (B, K, V); return the hypotheses that they continue and their tokens,
        (B, K) each."""
        self._length += 1
        vocabulary = logits.shape[-1]
        log_probabilities = logits.float().log_softmax(-1)
        must_end = (self._limits <= self._length)[:, None, None]
        others = torch.arange(vocabulary, device=logits.device) != self._end
        log_probabilities = log_probabilities.masked_fill(must_end & others, -torch.inf)
        whole = (self._live[:, :, None] + log_probabilities).flatten(1)
        # a hypothesis ends in one way only, so among 2 K continuations are K that don't end
        values, places = whole.topk(min(2 * self._beam_size, whole.shape[1]), dim=1)
        origins, tokens = places // vocabulary, places % vocabulary
        ends = tokens == self._end
        self._finish(values.masked_fill(~ends, -torch.inf)[:, : self._beam_size], origins)
        self._live, chosen = values.masked_fill(ends, -torch.inf).topk(self._beam_size, dim=1)
        origins, tokens = origins.gather(1, chosen), tokens.gather(1, chosen)
        self._texts = self._texts.gather(1, origins[:, :, None].expand_as(self._texts))
        self._texts[:, :, self._length - 1] = tokens
        return origins, tokens

    def going(self) -> Tensor:
        """Return which of the B sources are not done (B',); the texts of the others are put by."""
        # a finished score is compared with what the best unfinished hypothesis would have, were all else certain
        hope = self._live[:, 0] / self._penalty(self._limits)
        done = (self._finished >= self._beam_size) | (self._best >= hope) | (self._limits <= self._length)
        for row in done.nonzero().flatten().tolist():
            text = self._best_text[row].tolist()
            length = text.index(self._end) if self._end in text else len(text)
            self._found[int(self._numbers[row])] = Found(text[:length], float(self._best_log_probability[row]))
        return (~done).nonzero().flatten()

    def keep(self, going: Tensor) -> None:
        """Forget all but some sources."""
        for name in ("_numbers", "_limits", "_live", "_texts", "_finished"):
            setattr(self, name, getattr(self, name)[going])
        for name in ("_best", "_best_log_probability", "_best_text"):
            setattr(self, name, getattr(self, name)[going])

    def found(self) -> list[Found]:
        """Return the best text of each source."""
        return self._found

    def _finish(self, log_probabilities: Tensor, origins: Tensor) -> None:
        """Count hypotheses that end now, given by log probability (B, K), -inf where there is none; keep the best."""
        self._finished += (log_probabilities > -torch.inf).sum(1)
        best, place = (log_probabilities / self._penalty(self._length)).max(1)
        better = best > self._best
        rows = torch.arange(len(best), device=best.device)
        self._best = torch.where(better, best, self._best)
        self._best_log_probability = torch.where(better, log_probabilities[rows, place], self._best_log_probability)
        ended = self._texts[rows, origins[rows, place]]
        self._best_text = torch.where(better[:, None], ended, self._best_text)

    def _penalty(self, length: Tensor | int) -> Tensor | float:
        return ((5 + length) / 6) ** self._alpha
