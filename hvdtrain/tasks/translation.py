"""Translation: write the target text of a source text, token by token."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from hvdtrain.registry import RegisteredConfig

if TYPE_CHECKING:
    from hvdtrain.data.encoders import Encoder
    from hvdtrain.tasks._translation import Translation


class Config(RegisteredConfig):
    """Cross entropy over target tokens, with label smoothing in training (Szegedy et al. 2016,
    https://arxiv.org/abs/1512.00567, section 7): `label_smoothing` of the probability is spread over all tokens.

    Translations are found by beam search: `beam_size` hypotheses for predictions and samples, `eval_beam_size` in
    evaluations, during training as in `hvdtrain evaluate` (1: greedy, fast; 0: evaluate the loss alone). Hypotheses of
    different length are compared by log probability / ((5 + tokens) / 6)^`length_penalty` (Wu et al. 2016,
    https://arxiv.org/abs/1609.08144, section 7, equation 14, without its coverage). A translation has at most
    10 + `max_length_ratio` x the source's tokens, and never more than `data.max_seq_len`.

    `length_groups` saves work on padding: the pairs of a micro batch go through the model in so many groups of similar
    length. Their losses are added, so that the gradient is the same but for rounding, and for the places of dropout. A
    CPU gains by it; a GPU rather loses.

    `show` is how many validation texts are translated for a person to read at each evaluation.
    """

    target_kind: ClassVar[str] = "text"

    name: Literal["translation"] = "translation"
    label_smoothing: float = Field(0.1, ge=0.0, lt=1.0)
    beam_size: PositiveInt = 4
    eval_beam_size: NonNegativeInt = 1
    length_penalty: float = Field(0.6, ge=0.0)
    max_length_ratio: PositiveFloat = 2.0
    length_groups: PositiveInt = 1
    show: NonNegativeInt = 3


def build(config: Config, encoder: Encoder) -> Translation:
    """Build the task for pairs of texts.

    Raises:
        RecipeError: the data are no pairs of texts.
        SetupError: sacrebleu, which evaluations need, is not installed.
    """
    from hvdtrain.tasks._translation import Translation

    return Translation(config, encoder)
