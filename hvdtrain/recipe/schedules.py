"""What a recipe says of the learning rate over time, and of how it follows the batch size."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt, ValidationInfo, field_validator

from hvdtrain.recipe.checks import Section, misfit


class ScheduleConfig(Section):
    """What all schedules share.

    The rate rises linearly over `warmup_steps` updates. `batch_size_scaling` multiplies it by (global batch /
    `base_batch_size`) to the power 1 (`linear`, Goyal et al. 2017, https://arxiv.org/abs/1706.02677) or 1/2 (`sqrt`).
    """

    name: str
    warmup_steps: NonNegativeInt = 0
    batch_size_scaling: Literal["none", "linear", "sqrt"] = "none"
    base_batch_size: PositiveInt | None = None

    @field_validator("base_batch_size")
    @classmethod
    def _scaling_needs_a_base(cls, base: int | None, info: ValidationInfo) -> int | None:
        scaling = info.data.get("batch_size_scaling", "none")
        if scaling != "none" and base is None:
            raise misfit(
                "base_batch_size", f"is required by batch_size_scaling: {scaling} (the batch that lr was chosen for)"
            )
        return base


class CosineConfig(ScheduleConfig):
    """Half a cosine from the peak to `min_lr` at the last update."""

    name: Literal["cosine"] = "cosine"
    min_lr: NonNegativeFloat = 0.0


class LinearConfig(ScheduleConfig):
    """A line from the peak to `min_lr` at the last update."""

    name: Literal["linear"] = "linear"
    min_lr: NonNegativeFloat = 0.0


class ConstantConfig(ScheduleConfig):
    """The peak until the end."""

    name: Literal["constant"] = "constant"


SchedulerConfig = Annotated[CosineConfig | LinearConfig | ConstantConfig, Field(discriminator="name")]
