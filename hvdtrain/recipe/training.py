"""What a recipe says of the training loop: batches, length, precision, and what happens how often."""

from __future__ import annotations

from typing import Literal

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationInfo,
    field_validator,
)

from hvdtrain.recipe.checks import Section, misfit

LENGTHS = ("max_steps", "epochs", "max_tokens")


class ObjectiveConfig(Section):
    """What makes one checkpoint better than another: a metric of the evaluations, whose largest or smallest value is
    best."""

    metric: str = Field(min_length=1)
    mode: Literal["min", "max"]


class EarlyStopping(Section):
    """Stop where the objective has not improved, by more than `min_delta`, in `patience` evaluations."""

    patience: PositiveInt
    min_delta: NonNegativeFloat = 0.0


class TrainConfig(Section):
    """The loop. Batch sizes count sequences (samples); intervals count updates.

    `global_batch_size` is that of all workers together: left out, it grows with them. One of `max_steps`, `epochs` and
    `max_tokens` says how long to train. `eval_interval: 0` never evaluates, `save_interval: 0` saves at the end only.
    `eval_samples` and `keep_last` left out mean the whole validation split and every checkpoint if null.
    """

    micro_batch_size: PositiveInt = Field(8, description="Samples a worker takes through one backward pass.")
    global_batch_size: PositiveInt | None = Field(None, description="Samples an update, all workers together.")
    max_steps: PositiveInt | None = Field(None, description="Updates to train.")
    epochs: PositiveInt | None = Field(None, description="Passes over the training split.")
    max_tokens: PositiveInt | None = Field(None, description="Tokens to train on, rounded up to whole updates.")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field("auto", description="auto: what the device does fast.")
    deterministic: bool = Field(False, description="Bit-identical repeats and resumes, at a cost in speed.")
    compile: bool = Field(False, description="torch.compile the model; the first step takes long.")
    max_grad_norm: PositiveFloat | None = Field(1.0, description="Clip the gradient's global norm; null: don't.")
    eval_interval: NonNegativeInt = Field(100, description="Updates between evaluations; 0: never.")
    eval_samples: PositiveInt | None = Field(None, description="Samples an evaluation; null: the whole split.")
    save_interval: NonNegativeInt = Field(100, description="Updates between checkpoints; 0: at the end only.")
    keep_last: PositiveInt | None = Field(3, description="Checkpoints kept, the newest ones; null: all.")
    objective: ObjectiveConfig | None = Field(None, description="What checkpoints are chosen by; null: the task's own.")
    keep_best: bool = Field(True, description="Save the model of the best evaluation, and keep it.")
    early_stopping: EarlyStopping | None = Field(None, description="Stop where evaluations no longer improve.")
    on_nonfinite: Literal["stop", "skip", "rollback"] = Field(
        "stop",
        description="What a loss or gradient that is not finite does: skip its batch, or go back to the last "
        "checkpoint and skip what was trained on since.",
    )
    nonfinite_limit: PositiveInt = Field(10, description="Updates in a row that may be skipped; rollbacks of a run.")
    on_save_error: Literal["stop", "continue"] = Field(
        "stop", description="Whether to train on where a checkpoint can't be written; the last one must be."
    )
    commit_interval: PositiveInt = Field(
        10, description="Updates between commits to memory of an elastic run: what losing a worker costs at most."
    )
    hang_timeout: PositiveFloat | None = Field(
        600.0, description="Seconds that a part of a step, or waiting for a worker, may take; null: any time."
    )
    sync_batchnorm: bool = Field(False, description="BatchNorm over the micro batches of all workers together.")
    log_interval: PositiveInt = Field(10, description="Updates between records.")
    plots: bool = Field(True, description="Draw curves into the report at the end; `hvdtrain report` does so later.")
    threads_per_worker: Literal["auto"] | PositiveInt = Field("auto", description="auto: the host's cores / workers.")

    @field_validator("global_batch_size")
    @classmethod
    def _whole_micro_batches(cls, batch: int | None, info: ValidationInfo) -> int | None:
        micro = info.data.get("micro_batch_size")
        if batch is None or micro is None or batch % micro == 0:
            return batch
        below, above = batch // micro * micro, (batch // micro + 1) * micro
        nearest = f"{below} or {above}" if below else f"{above}"
        raise misfit("global_batch_size", f"must be a multiple of train.micro_batch_size {micro}, such as {nearest}")

    @field_validator("early_stopping")
    @classmethod
    def _evaluates(cls, stopping: EarlyStopping | None, info: ValidationInfo) -> EarlyStopping | None:
        if stopping is not None and info.data.get("eval_interval") == 0:
            raise misfit("early_stopping", "needs evaluations; set train.eval_interval")
        return stopping

    @field_validator("max_tokens")
    @classmethod
    def _one_length(cls, max_tokens: int | None, info: ValidationInfo) -> int | None:
        if not {"max_steps", "epochs"} <= info.data.keys():
            return max_tokens  # one of them is wrong by itself, which is reported
        values: dict[str, int | None] = {**info.data, "max_tokens": max_tokens}
        given = [key for key in LENGTHS if values[key] is not None]
        if not given:
            raise misfit("max_steps", f"one of {', '.join(LENGTHS)} is required: how long to train")
        if len(given) > 1:
            raise misfit(given[-1], f"only one of {', '.join(LENGTHS)} can be set, not {' and '.join(given)}")
        return max_tokens
