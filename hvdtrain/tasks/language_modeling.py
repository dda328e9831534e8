"""Language modelling: predict each token from those before it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from hvdtrain.registry import RegisteredConfig

if TYPE_CHECKING:
    from hvdtrain.data.encoders import CorpusEncoder
    from hvdtrain.tasks._language_modeling import LanguageModeling


class Config(RegisteredConfig):
    """Next-token prediction; the sample fields say what text is made at each evaluation (0 tokens: none)."""

    data_form: ClassVar[str] = "corpus"

    name: Literal["language_modeling"] = "language_modeling"
    sample_prompt: str = Field("\n", min_length=1)
    sample_tokens: NonNegativeInt = 120
    sample_temperature: PositiveFloat = 0.8
    sample_top_k: PositiveInt | None = 50


def build(config: Config, encoder: CorpusEncoder) -> LanguageModeling:
    """Build the task for tokens."""
    from hvdtrain.tasks._language_modeling import LanguageModeling

    return LanguageModeling(config, encoder)
