"""RNN: a language model of Elman's simple recurrent network, h' = tanh(W x + U h + b)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from hvdtrain.models._recurrent_config import RecurrentConfig

if TYPE_CHECKING:
    from hvdtrain.models._recurrent import RecurrentLanguageModel
    from hvdtrain.models._spec import DataSpec


class Config(RecurrentConfig):
    """Shape of an RNN (Elman 1990, https://doi.org/10.1207/s15516709cog1402_1; as a language model Mikolov et al. 2010,
    https://doi.org/10.21437/Interspeech.2010-343); see `RecurrentConfig` for the fields."""

    name: Literal["rnn"] = "rnn"


def build(config: Config, spec: DataSpec) -> RecurrentLanguageModel:
    """Return a freshly initialised RNN; its weights depend on torch's global seed alone.

    Raises:
        RecipeError: the data are no texts.
    """
    from hvdtrain.models._recurrent import RecurrentLanguageModel

    spec.needs("rnn", "vocab_size")
    return RecurrentLanguageModel("rnn", config, spec)
