"""The translation task itself: smoothed loss, search, scores of the whole corpus, samples to read."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from hvdtrain.data.encoders import Encoder, PairEncoder
from hvdtrain.errors import RecipeError
from hvdtrain.models._spec import DataSpec
from hvdtrain.models._texts import valid_tokens
from hvdtrain.tasks._beam_search import Found, Growing, beam_search
from hvdtrain.tasks._bleu import CorpusScores
from hvdtrain.tasks._cross_entropy import IGNORED, summed_cross_entropy
from hvdtrain.tasks._evaluating import evaluating
from hvdtrain.tasks._task import Batch, Phase, Shown, Task

if TYPE_CHECKING:
    from hvdtrain.tasks.translation import Config

_ALWAYS_ALLOWED = 10
"""Tokens that a translation may have beyond its ratio to the source: a short text may need several times its own."""
_SHOWN_STREAM = 0x74726E73
"""Keeps the random numbers that choose texts to show apart from others."""


class Translator(Protocol):
    """What this task needs of a model."""

    def __call__(self, source: Tensor, inputs: Tensor) -> Tensor:
        """Return logits (B, T, V) for source ids (B, S) and the ids (B, T) that precede each target."""
        ...

    def start(self, source: Tensor, hypotheses: int) -> Growing:
        """Return the beginnings of target texts, `hypotheses` for each source text (B, S)."""
        ...


class Translation(Task):
    """Pairs of texts. References are what the encoder left of the target texts: cut at `max_seq_len`, if anything."""

    unit = "tokens"
    loss_unit = "nats a token"

    def __init__(self, config: Config, encoder: Encoder) -> None:
        if not isinstance(encoder, PairEncoder) or encoder.tokenizer is None:
            raise RecipeError(
                f"task.name = translation: reads pairs of texts, and the data of this recipe are {encoder.kind}"
            )
        self._config = config
        self._tokenizer = encoder.tokenizer
        self._scores = CorpusScores() if config.eval_beam_size else None
        self.phases = (Phase("translation", trains=lambda name: True, loss=self._loss),)
        self.targets_per_sample = encoder.max_seq_len
        self.spec = DataSpec(
            vocab_size=encoder.tokenizer.vocab_size, max_seq_len=encoder.max_seq_len, pad_id=encoder.pad_id
        )
        if self._scores is not None:
            self.objective = ("bleu", "max")

    def count(self, batch: Batch) -> int:
        return int((batch["targets"] != IGNORED).sum())

    def evaluate(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        targets = batch["targets"]
        sums = {"nats": self._summed_cross_entropy(model, batch), "tokens": (targets != IGNORED).sum()}
        if self._scores is not None:
            found = self._search(model, batch["source"], self._config.eval_beam_size)
            sums |= self._scores.sums([self._tokenizer.decode(text.tokens) for text in found], self._references(batch))
        return sums

    def metrics(self, totals: Mapping[str, Tensor]) -> dict[str, float]:
        """The loss is the cross entropy without smoothing, and perplexity its exp; BLEU and chrF go from 0 to 100."""
        loss = float(totals["nats"]) / max(1.0, float(totals["tokens"]))
        found = {"loss": loss, "perplexity": math.exp(loss) if loss < 700 else math.inf}
        return found | (self._scores.metrics(totals) if self._scores is not None else {})

    def show(self, model: nn.Module, val: Any, seed: int) -> Shown | None:
        """Translate the same few validation texts at each evaluation."""
        count = min(self._config.show, len(val))
        if not count:
            return None
        chosen = np.random.default_rng([seed, _SHOWN_STREAM]).choice(len(val), count, replace=False)
        batch = val.batch(np.sort(chosen))
        source = batch["source"].to(next(model.parameters()).device)
        with evaluating(model):
            found = self._search(model, source, self._config.beam_size)
        triples = zip(self._texts(source), self._references(batch), found, strict=True)
        lines = [
            f"source       {text}\nreference    {reference}\ntranslation  {self._tokenizer.decode(each.tokens)}"
            for text, reference, each in triples
        ]
        return Shown("", "\n\n".join(lines))

    def predict(self, model: nn.Module, batch: Batch) -> list[dict[str, Any]]:
        """Return `translation`, and `score`: its log probability in nats, its end included."""
        found = self._search(model, batch["source"], self._config.beam_size)
        return [{"translation": self._tokenizer.decode(text.tokens), "score": text.log_probability} for text in found]

    def _loss(self, model: nn.Module, batch: Batch) -> Tensor:
        return self._summed_cross_entropy(model, batch, self._config.label_smoothing)

    def _summed_cross_entropy(self, model: nn.Module, batch: Batch, label_smoothing: float = 0.0) -> Tensor:
        """Return the sum over valid targets of -log p(target), in nats, or of its smoothed form."""
        parts = _by_length(batch, self._config.length_groups, self.spec.pad_id)
        return torch.stack([_cross_entropy(model, part, label_smoothing) for part in parts]).sum()

    def _search(self, model: nn.Module, source: Tensor, beam_size: int) -> list[Found]:
        """Return the best translation that was found for each source text (B, S).

        It is searched for in float32: in bf16 many log probabilities are equal, and a translation would depend on what
        it was batched with.
        """
        if not len(source):
            return []
        tokens = valid_tokens(source, self.spec.pad_id).sum(1)
        ratio = self._config.max_length_ratio
        limits = (_ALWAYS_ALLOWED + (tokens * ratio).ceil().long()).clamp(max=self.spec.max_seq_len)
        with torch.autocast(source.device.type, enabled=False):
            return beam_search(
                _translator(model).start(source, beam_size),
                limits,
                end=self.spec.pad_id,
                beam_size=beam_size,
                length_penalty=self._config.length_penalty,
            )

    def _texts(self, ids: Tensor) -> list[str]:
        """Return the texts of ids (B, T); ends and what stands for no token have no text."""
        rows: Sequence[Sequence[int]] = ids.tolist()
        return [self._tokenizer.decode(token for token in row if token != IGNORED) for row in rows]

    def _references(self, batch: Batch) -> list[str]:
        return self._texts(batch["targets"])


def _by_length(batch: Batch, groups: int, pad_id: int) -> list[Batch]:
    """Return the pairs of a batch in so many groups of similar length, each without padding that it can do without."""
    groups = min(groups, len(batch["source"]))
    if groups <= 1:
        return [batch]
    source_lengths = valid_tokens(batch["source"], pad_id).sum(1)
    target_lengths = (batch["targets"] != IGNORED).sum(1)
    parts = []
    for rows in (source_lengths + target_lengths).argsort().tensor_split(groups):
        source_end, target_end = int(source_lengths[rows].max()), int(target_lengths[rows].max())
        ends = {"source": source_end, "inputs": target_end, "targets": target_end}
        parts.append({name: batch[name][rows, :end] for name, end in ends.items()})
    return parts


def _cross_entropy(model: nn.Module, batch: Batch, label_smoothing: float) -> Tensor:
    logits = _translator(model)(batch["source"], batch["inputs"])
    return summed_cross_entropy(logits.flatten(0, 1), batch["targets"].flatten(), label_smoothing)


def _translator(model: nn.Module) -> Translator:
    if not hasattr(model, "start"):
        raise RecipeError(
            f"task.name = translation: needs a model that reads one text and writes another, which that of this recipe "
            f"({type(model).__name__}) is not; take model: {{name: transformer}}"
        )
    return model  # type: ignore[return-value]
