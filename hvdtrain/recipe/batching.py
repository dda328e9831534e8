"""How a global batch is cut into workers and backward passes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hvdtrain.errors import RecipeError

if TYPE_CHECKING:
    from hvdtrain.recipe.recipe import Recipe
    from hvdtrain.recipe.training import TrainConfig


@dataclass(frozen=True)
class BatchPlan:
    """Samples an update (`global_batch_size`), samples a backward pass (`micro_batch_size`), and the backward passes
    that each worker does for one update (`passes`, the gradient accumulation steps): global = micro x workers x
    passes, or in an elastic run the least number of passes in which the workers get through."""

    global_batch_size: int
    micro_batch_size: int
    passes: int


def plan_batch(config: TrainConfig, workers: int, *, uneven: bool = False) -> BatchPlan:
    """Derive accumulation from the global and the micro batch; without a global batch it is one pass of every worker.

    `uneven` lets workers have shares that differ by one sample, so that any number of them goes with any batch.

    Raises:
        RecipeError: the global batch is no multiple of what the workers do in one pass.
    """
    micro = config.micro_batch_size
    in_one_pass = micro * workers
    wanted = config.global_batch_size
    if wanted is None:
        return BatchPlan(in_one_pass, micro, 1)
    if uneven:
        largest_share = math.ceil(wanted / workers)
        return BatchPlan(wanted, min(micro, largest_share), math.ceil(largest_share / micro))
    if wanted % in_one_pass:
        below, above = wanted // in_one_pass * in_one_pass, math.ceil(wanted / in_one_pass) * in_one_pass
        nearest = " or ".join(str(size) for size in (below, above) if size)
        fitting = [m for m in range(min(micro, wanted // workers), 0, -1) if wanted % (m * workers) == 0]
        advice = f", or train.micro_batch_size={fitting[0]}" if fitting else ""
        raise RecipeError(
            f"train.global_batch_size = {wanted}: not a multiple of {in_one_pass} (train.micro_batch_size {micro} x "
            f"{workers} workers); use train.global_batch_size={nearest}{advice}"
        )
    return BatchPlan(wanted, micro, wanted // in_one_pass)


def total_steps(config: TrainConfig, batch: BatchPlan, *, targets_per_sample: int) -> int:
    """Return the number of updates that `max_steps` or `max_tokens` asks for; that of `epochs`, the loader knows."""
    if config.max_steps is not None:
        return config.max_steps
    tokens = config.max_tokens or 0
    return max(1, math.ceil(tokens / (batch.global_batch_size * targets_per_sample)))


def check_elastic(recipe: Recipe) -> None:
    """Make sure that a recipe means the same for any number of workers, as an elastic run needs it.

    Raises:
        RecipeError: its batch grows with the workers, or its partition depends on how many there are.
    """
    if recipe.train.global_batch_size is None:
        raise RecipeError(
            "train.global_batch_size is not set, and would change with the number of workers of an elastic run; set it "
            "to the samples of an update, all workers together"
        )
    partition = getattr(recipe.data, "partition", None)
    if partition is not None and hasattr(partition, "parts"):
        raise RecipeError(
            f"data.partition.name = {partition.name}: its parts are dealt to a fixed number of workers, which changes "
            "in an elastic run; use random or stratified"
        )
    if getattr(recipe.task, "data_form", "") == "environments":
        raise RecipeError(
            f"task.name = {recipe.task.name}: its workers share environments out evenly, and an elastic run may have "
            "any number of workers"
        )
