"""LSTM: a language model of long short-term memory cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from hvdtrain.models._recurrent_config import RecurrentConfig

if TYPE_CHECKING:
    from hvdtrain.models._recurrent import RecurrentLanguageModel
    from hvdtrain.models._spec import DataSpec


class Config(RecurrentConfig):
    """Shape of an LSTM (Hochreiter and Schmidhuber 1997, https://doi.org/10.1162/neco.1997.9.8.1735, with the forget
    gate of Gers et al. 2000; as a language model Zaremba et al. 2014, https://arxiv.org/abs/1409.2329); see
    `RecurrentConfig` for the fields."""

    name: Literal["lstm"] = "lstm"


def build(config: Config, spec: DataSpec) -> RecurrentLanguageModel:
    """Return a freshly initialised LSTM; its weights depend on torch's global seed alone.

    Raises:
        RecipeError: the data are no texts.
    """
    from hvdtrain.models._recurrent import RecurrentLanguageModel

    spec.needs("lstm", "vocab_size")
    return RecurrentLanguageModel("lstm", config, spec)
