"""A recipe as typed values: everything that determines a run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator

from hvdtrain.recipe.checks import Section, misfit
from hvdtrain.recipe.optimizers import OptimizerConfig
from hvdtrain.recipe.schedules import ConstantConfig, SchedulerConfig
from hvdtrain.recipe.training import TrainConfig
from hvdtrain.registered import RegisteredAs
from hvdtrain.registry import RegisteredConfig, config_class

_SLUG = "[A-Za-z0-9][A-Za-z0-9._-]{0,99}"


def _default_sync() -> RegisteredConfig:
    return config_class("sync", "allreduce")(name="allreduce")


class Recipe(Section):
    """Everything that determines a run; `model`, `data` and others hold the `Config` registered under their `name`."""

    name: str = Field(
        description="Names the run, and by default its directory.", json_schema_extra={"pattern": f"^{_SLUG}$"}
    )
    description: str | None = Field(None, description="One line on what the recipe is for.")
    seed: int = Field(1234, ge=0, lt=2**32, description="Of initial weights, data order and sampled text.")
    task: Annotated[RegisteredConfig, RegisteredAs("tasks")]
    model: Annotated[RegisteredConfig, RegisteredAs("models")]
    data: Annotated[RegisteredConfig, RegisteredAs("data")]
    tokenizer: Annotated[RegisteredConfig, RegisteredAs("tokenizers")] | None = None
    optimizer: OptimizerConfig
    lr_scheduler: SchedulerConfig = Field(default_factory=ConstantConfig)
    sync: Annotated[RegisteredConfig, RegisteredAs("sync")] = Field(default_factory=_default_sync)
    train: TrainConfig
    output_dir: Annotated[Path, Field(strict=False)] = Field(
        Path("runs"),
        description="Where the run's files go; runs/NAME if left out.",
        json_schema_extra={"default": "runs/NAME"},
    )

    @model_validator(mode="before")
    @classmethod
    def _output_under_runs(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and "output_dir" not in values and isinstance(values.get("name"), str):
            return {**values, "output_dir": Path("runs", values["name"])}
        return values

    @field_validator("name")
    @classmethod
    def _safe_as_a_directory(cls, name: str) -> str:
        if not re.fullmatch(_SLUG, name):
            raise misfit("name", "must be letters, digits, '.', '_' and '-', and begin with a letter or digit")
        return name

    @field_validator("output_dir")
    @classmethod
    def _directory_of_its_own(cls, path: Path) -> Path:
        if path.name in ("", "..") or not str(path).isprintable():
            raise misfit("output_dir", "must name a directory that the run can have to itself, such as runs/my-run")
        return Path.home() / Path(*path.parts[1:]) if path.parts[0] == "~" else path

    @field_validator("data")
    @classmethod
    def _target_as_the_task_reads_it(cls, data: RegisteredConfig, info: ValidationInfo) -> RegisteredConfig:
        """Tell a source that would look at the values what targets are to the task, where the task says it."""
        task = info.data.get("task")
        kind = getattr(task, "target_kind", None)
        if task is None or kind is None or getattr(data, "target_kind", None) != "auto":
            return data
        try:
            return type(data).model_validate(data.model_dump() | {"target_kind": kind})
        except ValidationError as error:
            if all(detail["loc"] != ("target_kind",) for detail in error.errors()):
                raise  # another value does not go with it, and the error names that
            message = f"has no targets of the kind '{kind}', which task {task.name} predicts"
            raise misfit("data.name", message) from error

    @field_validator("tokenizer")
    @classmethod
    def _text_needs_a_tokenizer(
        cls, tokenizer: RegisteredConfig | None, info: ValidationInfo
    ) -> RegisteredConfig | None:
        data = info.data.get("data")
        if tokenizer is None and getattr(data, "needs_tokenizer", False):
            wanted_by = f"{data.name}{getattr(data, 'why_tokenizer', '')}"  # type: ignore[union-attr]
            raise misfit("tokenizer", f"is required by data {wanted_by}, such as tokenizer: {{name: bytes}}")
        return tokenizer

    @field_validator("lr_scheduler")
    @classmethod
    def _decays_downwards(cls, scheduler: SchedulerConfig, info: ValidationInfo) -> SchedulerConfig:
        optimizer, low = info.data.get("optimizer"), getattr(scheduler, "min_lr", 0.0)
        # A rate that follows the batch is known when the workers are.
        if optimizer is not None and scheduler.batch_size_scaling == "none" and low > optimizer.lr:
            raise misfit("lr_scheduler.min_lr", f"must not exceed optimizer.lr = {optimizer.lr:g}")
        return scheduler
