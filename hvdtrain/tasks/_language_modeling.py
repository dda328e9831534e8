"""Language modelling itself: cross entropy over the next token; perplexity and bits per byte of held-out text."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from hvdtrain.errors import RecipeError
from hvdtrain.models._spec import DataSpec
from hvdtrain.tasks._cross_entropy import IGNORED, summed_cross_entropy
from hvdtrain.tasks._task import Batch, Phase, SampleRequest, Task

if TYPE_CHECKING:
    from hvdtrain.data.encoders import CorpusEncoder
    from hvdtrain.tasks.language_modeling import Config


class LanguageModeling(Task):
    """Next-token prediction. Without a tokenizer nothing is known of bytes, and no text is made."""

    unit = "tokens"
    loss_unit = "nats a token"

    def __init__(self, config: Config, encoder: CorpusEncoder) -> None:
        self._config = config
        self._tokenizer = encoder.tokenizer
        self._lengths = {}
        if encoder.tokenizer is not None:
            counts = {"bytes": encoder.tokenizer.token_bytes(), "characters": encoder.tokenizer.token_characters()}
            self._lengths = {name: torch.from_numpy(count.astype("int64")) for name, count in counts.items()}
        self.phases = (Phase("language_modeling", trains=lambda name: True, loss=_summed_cross_entropy),)
        self.targets_per_sample = encoder.max_seq_len
        self.spec = DataSpec(vocab_size=encoder.vocab_size, max_seq_len=encoder.max_seq_len)

    def count(self, batch: Batch) -> int:
        return int((batch["targets"] != IGNORED).sum())

    def evaluate(self, model: torch.nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
        targets = batch["targets"]
        valid = targets != IGNORED
        sums = {"nats": _summed_cross_entropy(model, batch), "tokens": valid.sum()}
        for name, lengths in self._lengths.items():
            sums[name] = lengths.to(targets.device)[targets.clamp(min=0)][valid].sum()
        return sums

    def metrics(self, totals: Mapping[str, torch.Tensor]) -> dict[str, float]:
        """Perplexity is exp of the mean loss; bits per byte (character) is the loss in bits over the bytes (characters)
        that the targets stand for.
        """
        sums = {name: float(value) for name, value in totals.items()}
        loss = sums["nats"] / sums["tokens"]
        found = {"loss": loss, "perplexity": math.exp(loss) if loss < 700 else math.inf}
        bits = sums["nats"] / math.log(2)
        if "bytes" in sums:
            found["bits_per_byte"] = bits / max(1.0, sums["bytes"])
        if "characters" in sums and sums["characters"] != sums["bytes"]:
            found["bits_per_character"] = bits / max(1.0, sums["characters"])
        return found

    def sample_request(self) -> SampleRequest | None:
        config = self._config
        if not config.sample_tokens or self._tokenizer is None:
            return None
        return SampleRequest(config.sample_prompt, config.sample_tokens, config.sample_temperature, config.sample_top_k)


def _summed_cross_entropy(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
    """Return the sum over valid targets of -log p(target), in nats: logits (B, T, V), targets (B, T)."""
    return summed_cross_entropy(_logits(model, batch["inputs"]).flatten(0, 1), batch["targets"].flatten())


def _logits(model: torch.nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    """Return logits (B, T, V) for inputs (B, T).

    Raises:
        RecipeError: the model gives something else, such as logits for each text, or wants a source text.
    """
    found = None if hasattr(model, "start") else model(inputs)
    if not isinstance(found, torch.Tensor) or found.ndim != 3 or found.shape[:2] != inputs.shape:
        raise RecipeError(
            "task.name = language_modeling: needs a model that predicts the token after each one, which that of this "
            f"recipe ({type(model).__name__}) does not; take model: {{name: gpt}}"
        )
    return found
