"""From a recipe and a world to everything that a run needs: device, data, model, task, strategies, loader."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from hvdtrain import registry
from hvdtrain.data.loader import make_loader
from hvdtrain.data.prepare import prepare
from hvdtrain.data.prepared import PreparedData
from hvdtrain.errors import DataError, RecipeError, SetupError
from hvdtrain.launched import elastic
from hvdtrain.recipe.batching import BatchPlan, plan_batch, total_steps
from hvdtrain.sync import _batchnorm as batchnorm
from hvdtrain.sync import wrap
from hvdtrain.sync._config import SyncConfig, check_rollback, check_workers, training_workers
from hvdtrain.tasks._task import Task
from hvdtrain.tasks._task import build as build_task
from hvdtrain.train import device as devices
from hvdtrain.train import optimizers, precision
from hvdtrain.train.allocator import reuse_freed_memory
from hvdtrain.train.flops import flops_per_target
from hvdtrain.train.loop import Loop, PhaseRun
from hvdtrain.train.schedules import Schedule, scale_to_batch
from hvdtrain.train.state import model_tensors
from hvdtrain.train.timing import Stopwatch
from hvdtrain.world import together

if TYPE_CHECKING:
    from hvdtrain.data.encoders import Encoder
    from hvdtrain.data.loader import Loader
    from hvdtrain.models._spec import DataSpec
    from hvdtrain.recipe import Recipe
    from hvdtrain.tasks._task import Batch
    from hvdtrain.train.interrupt import Interrupt
    from hvdtrain.world import World


@dataclass(frozen=True)
class Assembly:
    """A run ready to begin."""

    recipe: Recipe
    loop: Loop
    data: PreparedData
    batch: BatchPlan
    threads: int
    parameters: int
    flops_per_token: float


def assemble(recipe: Recipe, world: World, interrupt: Interrupt, data: PreparedData | None = None) -> Assembly:
    """Build the run on this worker; `data` stands in for what the recipe names.

    Raises:
        UserError: the recipe can't be run here; raised on all workers where it is on one.
    """
    config = recipe.train
    threads = devices.set_threads(config.threads_per_worker, world)
    device = together(world, lambda: devices.choose(world.local_rank))
    if config.deterministic:
        devices.make_deterministic()
    together(world, lambda: _check_workers(recipe, world))
    training = training_workers(recipe.sync, world.size)
    batch = together(world, lambda: plan_batch(config, training, uneven=elastic()))
    number_format = together(world, lambda: precision.choose(config.precision, device))
    together(world, lambda: _check_sync(recipe, world, number_format))
    data = data or prepare_alike(recipe, world)
    together(world, lambda: _check_choosing(recipe, data))
    task = together(world, lambda: make_task(recipe, data.encoder, device))
    model = together(world, lambda: build_model(recipe, task.spec, device))
    flops = flops_per_target(model, task, data.train, device)
    synchronised = config.sync_batchnorm and world.size > 1
    model = _prepare(model, recipe, world)
    if device.type == "cpu":
        reuse_freed_memory()  # from here on: what the preparation of data freed has gone back to the system
    loader = together(world, lambda: _loader(recipe, data, task, model, batch, world, device))
    steps = loader.total_steps or total_steps(config, batch, targets_per_sample=task.targets_per_sample)
    loop = Loop(
        world=world,
        model=model,
        task=task,
        encoder=data.encoder,
        phases=together(world, lambda: _phase_runs(recipe, model, task, batch.passes, world)),
        loader=loader,
        precision=number_format,
        schedule=together(world, lambda: make_schedule(recipe, batch.global_batch_size, steps)),
        stopwatch=Stopwatch(device),
        interrupt=interrupt,
        device=device,
        seed=recipe.seed,
        passes=batch.passes,
        global_batch_size=batch.global_batch_size,
        max_grad_norm=config.max_grad_norm,
        total_steps=steps,
        empty_batch=_empty_batch(data, task) if synchronised else None,
        servers=world.size - training,
        most_skipped=config.nonfinite_limit if config.on_nonfinite == "skip" else 0,
    )
    return Assembly(recipe, loop, data, batch, threads, sum(p.numel() for p in model.parameters()), flops)


def prepare_for(recipe: Recipe) -> PreparedData:
    """Prepare a recipe's data in the form that its task reads; DataError where it can't be."""
    return prepare(recipe.data, recipe.tokenizer, recipe.seed, getattr(recipe.task, "data_form", "examples"))


def make_task(recipe: Recipe, encoder: Encoder, device: torch.device) -> Task:
    """Build the recipe's task, with the trained model that it measures with, if any: of a run its best checkpoint.

    Raises:
        UserError: the data is not what the task reads, or that other model is not there.
    """
    task = build_task(recipe.task, encoder)
    if task.wants_model is not None:
        from hvdtrain.train.opening import open_trained

        other = open_trained(task.wants_model, prefer="best")
        task.attach(other.model.to(device), other.encoder)
    task.to(device)
    return task


def _prepare(model: torch.nn.Module, recipe: Recipe, world: World) -> torch.nn.Module:
    """Return the model as it is trained, alike on all workers: with BatchNorm over all of them, and compiled, where the
    recipe wants so.
    """
    config = recipe.train
    if config.sync_batchnorm:
        together(world, lambda: _check_batchnorm(recipe, model))
        if world.size > 1:
            model = batchnorm.convert(model, world)
    if config.compile:
        model.compile()
    world.broadcast_(model_tensors(model))
    return model


def build_model(recipe: Recipe, spec: DataSpec, device: torch.device) -> torch.nn.Module:
    """Build the recipe's model with weights that its seed determines, whatever ran before.

    Raises:
        SetupError: it does not fit into memory.
    """
    chosen = registry.find("models", recipe.model.name)

    def build() -> torch.nn.Module:
        torch.manual_seed(recipe.seed)
        model: torch.nn.Module = chosen.build(recipe.model, spec)
        return model

    try:
        return devices.build_within_memory(recipe.model.name, build).to(device)
    except (RuntimeError, MemoryError) as error:
        why = (str(error) or "there is no memory left").splitlines()[0]
        raise SetupError(f"model {recipe.model.name} can't be built here: {why}") from error


def make_schedule(recipe: Recipe, global_batch_size: int, steps: int) -> Schedule:
    """Build the learning-rate schedule, its peak scaled to the batch as the recipe says."""
    config = recipe.lr_scheduler
    peak, rule = scale_to_batch(
        recipe.optimizer.lr, config.batch_size_scaling, config.base_batch_size, global_batch_size
    )
    min_lr: float = getattr(config, "min_lr", 0.0)
    if min_lr > peak:
        raise RecipeError(f"lr_scheduler.min_lr = {min_lr:g}: must not exceed the learning rate, which is {rule}")
    return Schedule(config.name, peak, min_lr, config.warmup_steps, steps, rule)


def prepare_alike(recipe: Recipe, world: World) -> PreparedData:
    """Prepare the data on each host; DataError where it can't be, or where hosts have different data."""
    data = together(world, lambda: prepare_for(recipe))
    prints: Mapping[int, str] = dict(enumerate(world.gather(data.fingerprint)))
    different = [rank for rank, fingerprint in prints.items() if fingerprint != prints[0]]
    if different:
        raise DataError(
            f"workers {', '.join(map(str, different))} prepared other data than worker 0 did from the same recipe: "
            "the files on their hosts differ; copy the same files to all hosts"
        )
    return data


def _check_workers(recipe: Recipe, world: World) -> None:
    """Make sure that the strategy can be run by these workers."""
    check_workers(recipe.sync, world.size, world.controller)
    if recipe.train.on_nonfinite == "rollback":
        check_rollback(recipe.sync, world.size)
    if recipe.train.sync_batchnorm and training_workers(recipe.sync, world.size) < world.size:
        raise RecipeError(
            "train.sync_batchnorm = true: all workers take part in its layers, and dedicated servers have nothing to "
            "put through them; set sync.placement to colocated, or leave train.sync_batchnorm out"
        )


def _check_sync(recipe: Recipe, world: World, number_format: precision.Precision) -> None:
    """Make sure that the strategy can train in this precision."""
    sync = recipe.sync
    if world.size == 1 or not isinstance(sync, SyncConfig):
        return
    if number_format.scaler is not None and not sync.scales_gradients:
        raise RecipeError(
            f"train.precision = {recipe.train.precision}: {number_format.name} scales gradients, which sync.name = "
            f"{sync.name} can't do; set train.precision to bf16 or fp32, or sync.name to allreduce"
        )


def _check_batchnorm(recipe: Recipe, model: torch.nn.Module) -> None:
    if not any(isinstance(module, torch.nn.modules.batchnorm._BatchNorm) for module in model.modules()):
        raise RecipeError(
            f"train.sync_batchnorm = true: model {recipe.model.name} of this recipe has no BatchNorm to synchronise; "
            "leave it out"
        )


def _check_choosing(recipe: Recipe, data: PreparedData) -> None:
    """Nothing is to be chosen by the test part, where a run ends included."""
    if recipe.train.early_stopping is not None and not data.may_choose:
        raise RecipeError(
            "train.early_stopping: validation is on the test part, as data.val_fraction is 0, and a run must not end "
            "where that is best; set data.val_fraction above 0, or leave train.early_stopping out"
        )


def _phase_runs(recipe: Recipe, model: torch.nn.Module, task: Task, passes: int, world: World) -> list[PhaseRun]:
    runs = []
    for phase in task.phases:
        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad and phase.trains(name)]
        strategy = wrap(
            recipe.sync,
            optimizers.build(recipe.optimizer, [p for _, p in named]),
            named_parameters=named,
            backward_passes_per_step=passes,
            world=world,
        )
        runs.append(PhaseRun(phase, strategy, [p for _, p in named]))
    return runs


def _loader(
    recipe: Recipe,
    data: PreparedData,
    task: Task,
    model: torch.nn.Module,
    batch: BatchPlan,
    world: World,
    device: torch.device,
) -> Loader:
    sizes = {"global_batch_size": batch.global_batch_size, "micro_batch_size": batch.micro_batch_size}
    training = training_workers(recipe.sync, world.size)
    if training < world.size and type(task).loader is not Task.loader:
        raise RecipeError(
            f"task.name = {recipe.task.name}: its workers make their own samples, all of them, and dedicated servers "
            "make none; set sync.placement to colocated"
        )
    own: Loader | None = task.loader(
        data=data, model=model, world=world, device=device, seed=recipe.seed, epochs=recipe.train.epochs, **sizes
    )
    if own is not None:
        return own
    partition: registry.RegisteredConfig = recipe.data.partition  # type: ignore[attr-defined]
    return make_loader(
        data.train,
        partition,
        seed=recipe.seed,
        rank=world.rank,
        size=training,
        epochs=recipe.train.epochs,
        numbered=task.numbered,
        **sizes,
    )


def _empty_batch(data: PreparedData, task: Task) -> Callable[[], Batch]:
    def make() -> Batch:
        batch = data.train.batch(np.empty(0, dtype=np.int64))
        return batch | ({"number": torch.empty(0, dtype=torch.int64)} if task.numbered else {})

    return make
