"""From a recipe and a world to everything that a run needs: device, data, model, task, strategies, loader."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from hvdtrain import registry
from hvdtrain.data.loader import Loader
from hvdtrain.data.prepare import PreparedData, prepare
from hvdtrain.errors import DataError, RecipeError, SetupError
from hvdtrain.models._spec import DataSpec
from hvdtrain.recipe.batching import BatchPlan, plan_batch, total_steps
from hvdtrain.sync import wrap
from hvdtrain.tasks._task import Task
from hvdtrain.tasks._task import build as build_task
from hvdtrain.train import device as devices
from hvdtrain.train import optimizers, precision
from hvdtrain.train.loop import Loop, PhaseRun
from hvdtrain.train.schedules import Schedule, scale_to_batch
from hvdtrain.train.state import model_tensors
from hvdtrain.train.timing import Stopwatch
from hvdtrain.world import together

if TYPE_CHECKING:
    from hvdtrain.recipe import Recipe
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
    batch = together(world, lambda: plan_batch(config, world.size))
    number_format = together(world, lambda: precision.choose(config.precision, device))
    data = data or _prepared_alike(recipe, world)
    task = build_task(recipe.task, data)
    model = build_model(recipe, DataSpec(data.tokenizer.vocab_size, data.train.max_seq_len), device)
    world.broadcast_(model_tensors(model))
    steps = total_steps(config, batch, samples_an_epoch=len(data.train), targets_per_sample=task.targets_per_sample)
    loop = Loop(
        world=world,
        model=model,
        task=task,
        phases=_phase_runs(recipe, model, task, batch.passes, world.size),
        loader=_loader(recipe, data, batch, world),
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
    )
    parameters = sum(p.numel() for p in model.parameters())
    flops = float(model.flops_per_token(data.train.max_seq_len))  # type: ignore[operator]
    return Assembly(recipe, loop, data, batch, threads, parameters, flops)


def build_model(recipe: Recipe, spec: DataSpec, device: torch.device) -> torch.nn.Module:
    """Build the recipe's model with weights that its seed determines, whatever ran before.

    Raises:
        SetupError: it does not fit into memory.
    """
    torch.manual_seed(recipe.seed)
    try:
        model: torch.nn.Module = registry.find("models", recipe.model.name).build(recipe.model, spec)
        return model.to(device)
    except (RuntimeError, MemoryError) as error:
        raise SetupError(f"model {recipe.model.name} can't be built here: {str(error).splitlines()[0]}") from error


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


def _prepared_alike(recipe: Recipe, world: World) -> PreparedData:
    """Prepare the data on each host, and make sure that all hosts have the same."""
    data = together(world, lambda: prepare(recipe.data, recipe.tokenizer, recipe.seed))
    prints: Mapping[int, str] = dict(enumerate(world.gather(data.fingerprint)))
    different = [rank for rank, fingerprint in prints.items() if fingerprint != prints[0]]
    if different:
        raise DataError(
            f"workers {', '.join(map(str, different))} prepared other data than worker 0 did from the same recipe: "
            "the files on their hosts differ; copy the same files to all hosts"
        )
    return data


def _phase_runs(recipe: Recipe, model: torch.nn.Module, task: Task, passes: int, size: int) -> list[PhaseRun]:
    runs = []
    for phase in task.phases:
        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad and phase.trains(name)]
        strategy = wrap(
            recipe.sync,
            optimizers.build(recipe.optimizer, [p for _, p in named]),
            named_parameters=named,
            backward_passes_per_step=passes,
            size=size,
        )
        runs.append(PhaseRun(phase, strategy, [p for _, p in named]))
    return runs


def _loader(recipe: Recipe, data: PreparedData, batch: BatchPlan, world: World) -> Loader:
    """Only `epochs` ends the samples; steps and tokens are counted in whole batches."""
    epochs = recipe.train.epochs
    partition: registry.RegisteredConfig = recipe.data.partition  # type: ignore[attr-defined]
    return Loader(
        data.train,
        partition,
        seed=recipe.seed,
        global_batch_size=batch.global_batch_size,
        micro_batch_size=batch.micro_batch_size,
        rank=world.rank,
        size=world.size,
        total_samples=None if epochs is None else epochs * len(data.train),
    )
