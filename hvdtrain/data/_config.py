"""What sources of examples configure: how much is held out, and how samples are dealt to workers."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from hvdtrain.data.partitions import random
from hvdtrain.registered import RegisteredAs
from hvdtrain.registry import RegisteredConfig


class ExamplesConfig(RegisteredConfig):
    """Samples, one by one: rows, images, texts or pairs of texts.

    `val_fraction` and `test_fraction` are the shares that are held out, by the recipe's seed (of each class equally
    where there are classes), where the source has no split of its own. Validation is for choosing, among learning
    rates or checkpoints; test is what `hvdtrain evaluate` reports.
    """

    val_fraction: float = Field(0.1, ge=0.0, le=0.5)
    test_fraction: float = Field(0.2, ge=0.0, le=0.5)
    partition: Annotated[RegisteredConfig, RegisteredAs("partitions")] = Field(default_factory=random.Config)


class TextExamplesConfig(ExamplesConfig):
    """Texts: those longer than `max_seq_len` tokens lose their end."""

    needs_tokenizer: ClassVar[bool] = True

    max_seq_len: int = Field(128, ge=1)
