"""Language modelling: predict each token from those before it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from hvdtrain.registry import RegisteredConfig

if TYPE_CHECKING:
    import torch

    from hvdtrain.data.prepare import PreparedData
    from hvdtrain.tasks._task import Batch, SampleRequest


class Config(RegisteredConfig):
    """Next-token prediction; the sample fields say what text is made at each evaluation (0 tokens: none)."""

    name: Literal["language_modeling"] = "language_modeling"
    sample_prompt: str = Field("\n", min_length=1)
    sample_tokens: NonNegativeInt = 120
    sample_temperature: PositiveFloat = 0.8
    sample_top_k: PositiveInt | None = 50


class LanguageModeling:
    """Cross entropy over the next token; perplexity and bits per byte of held-out text."""

    def __init__(self, config: Config, data: PreparedData) -> None:
        import torch

        from hvdtrain.tasks._task import Phase

        self._config = config
        self._token_bytes = torch.from_numpy(data.token_bytes.astype("int64"))
        self.phases = (Phase("language_modeling", trains=lambda name: True, loss=_summed_cross_entropy),)
        self.targets_per_sample = data.train.max_seq_len

    def count(self, batch: Batch) -> int:
        return int((batch["targets"] != _IGNORED).sum())

    def evaluate(self, model: torch.nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
        valid = batch["targets"] != _IGNORED
        lengths = self._token_bytes.to(batch["targets"].device)
        return {
            "nats": _summed_cross_entropy(model, batch),
            "tokens": valid.sum(),
            "bytes": lengths[batch["targets"].clamp(min=0)][valid].sum(),
        }

    def metrics(self, sums: Mapping[str, float]) -> dict[str, float]:
        """Perplexity is exp of the mean loss; bits per byte is the loss in bits over the bytes that the targets stand
        for.
        """
        loss = sums["nats"] / sums["tokens"]
        perplexity = math.exp(loss) if loss < 700 else math.inf
        return {
            "loss": loss,
            "perplexity": perplexity,
            "bits_per_byte": sums["nats"] / math.log(2) / max(1.0, sums["bytes"]),
        }

    def sample_request(self) -> SampleRequest | None:
        from hvdtrain.tasks._task import SampleRequest

        config = self._config
        if not config.sample_tokens:
            return None
        return SampleRequest(config.sample_prompt, config.sample_tokens, config.sample_temperature, config.sample_top_k)


def build(config: Config, data: PreparedData) -> LanguageModeling:
    """Build the task for prepared token data."""
    return LanguageModeling(config, data)


_IGNORED = -100


def _summed_cross_entropy(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
    """Return the sum over valid targets of -log p(target), in nats: logits (B, T, V), targets (B, T)."""
    from torch.nn.functional import cross_entropy

    logits = model(batch["inputs"])
    return cross_entropy(
        logits.view(-1, logits.size(-1)), batch["targets"].view(-1), ignore_index=_IGNORED, reduction="sum"
    )
