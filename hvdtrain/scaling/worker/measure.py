"""A trial on one worker: blocks of training steps with and without synchronisation, and plain all-reduces."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from hvdtrain import world as worlds
from hvdtrain.data.synthetic import synthetic
from hvdtrain.launched import usable_cores
from hvdtrain.metrics.records import TrialRecord
from hvdtrain.registry import config_class
from hvdtrain.scaling.worker import gradients, probes
from hvdtrain.scaling.worker.block import Block
from hvdtrain.train.assemble import Assembly, assemble
from hvdtrain.train.device import describe, memory_bytes
from hvdtrain.train.engine import join
from hvdtrain.train.interrupt import Interrupt
from hvdtrain.train.peak import peak_flops

if TYPE_CHECKING:
    from hvdtrain.recipe import LoadedRecipe, Recipe
    from hvdtrain.scaling.trial import Task
    from hvdtrain.world import World


def measure(task: Task, loaded: LoadedRecipe) -> TrialRecord:
    """Run the trial; every worker returns what it measured itself.

    The block with synchronisation comes first. Then the workers train without it, first beside the running engine and
    last without: an engine that was shut down does not come back.
    """
    joined = join(loaded)
    world, knobs = joined.world, joined.knobs
    engine = {name: str(knob) for name, knob in knobs.items() if name.startswith("HOROVOD_")} if world.size > 1 else {}
    found: dict[str, Any] = {"engine": engine, "controller": world.controller}
    if world.size > 1:
        found |= _with_engine(task, loaded.recipe, world, probes.cycle_seconds(knobs))
    if task.floor or world.size == 1:
        apart = _without(task, _unsynchronised(loaded.recipe), world, len(found.get("synchronised", ())))
        found |= apart | {"processor": found.get("processor", {}) | apart["processor"]}
    else:
        found |= _facts(_assemble(task, _unsynchronised(loaded.recipe), worlds.Detached(world)), world)
    return TrialRecord(step=task.steps, rank=world.rank, world_size=world.size, **found)


def _with_engine(task: Task, recipe: Recipe, world: World, cycle: float) -> dict[str, Any]:
    """Return what the block with synchronisation and the plain all-reduces show; the run is gone after it."""
    run = _assemble(task, recipe, world)
    block = Block(run, world, task.warmup)
    steps = block.steps(task.steps, task.seconds)
    strategies = [phase.strategy for phase in run.loop.phases]
    probed = [seconds for strategy in strategies if (seconds := strategy.probe()) is not None]
    volume = round(sum(strategy.bytes_per_step for strategy in strategies))
    found: dict[str, Any] = {
        "synchronised": steps,
        "wall": block.usage["wall"],
        "processor": {"synchronised": block.usage},
        "compression": getattr(recipe.sync, "compression", "none"),
        "bytes_per_step": volume,
        "tensors": sum(len(phase.strategy.parameters) for phase in run.loop.phases),
        "allreduce_seconds": sum(probed) if probed else None,
    }
    if volume:
        found["one_buffer_seconds"] = probes.one_buffer(world, run.loop.device, volume)
    if volume and task.sweep:
        found["allreduce"] = probes.sweep(world, run.loop.device, volume)
        found["latencies"] = probes.latencies(world, run.loop.device, cycle)
        largest = int(found["allreduce"][-1][0])
        sharing = world.gather(_boot_id()).count(_boot_id())
        company = probes.company(world, run.loop.device, largest, sharing, cycle)
        found["allreduce_processor"] = company.processor
        found["beside"] = (company.computing, company.reducing)
    return found


def _without(task: Task, recipe: Recipe, world: World, count: int) -> dict[str, Any]:
    """Return what the blocks without synchronisation show, of `count` steps if that is known; leaves the world."""
    run = _assemble(task, recipe, worlds.Detached(world))
    found = _facts(run, world)
    if world.size > 1:
        found["idle"] = Block(run, world, 2).steps(max(1, count // 2), 0)
    world.gather(None)
    world.close()
    block = Block(run, worlds.Detached(world), task.warmup)
    found["floor"] = block.steps(count or task.steps, 0 if count else task.seconds)
    found["processor"] = {"floor": block.usage}
    if world.size == 1:
        found["wall"] = block.usage["wall"]
    found["memory_bytes"] = memory_bytes(run.loop.device)
    if task.gradients:
        found["gradients"] = gradients.ready_times(run.loop)
    return found


def _facts(run: Assembly, world: World) -> dict[str, Any]:
    loop = run.loop
    peak, source = peak_flops(loop.device, loop.precision.name)
    return {
        "host": socket.gethostname(),
        "machine": _boot_id(),
        "machine_cores": psutil.cpu_count() or 1,
        "local_size": world.local_size,
        "cores": usable_cores(),
        "threads": run.threads,
        "device": describe(loop.device),
        "precision": loop.precision.name,
        "global_batch_size": run.batch.global_batch_size,
        "micro_batch_size": run.batch.micro_batch_size,
        "gradient_accumulation_steps": run.batch.passes,
        "samples": run.batch.global_batch_size,
        "tokens": run.batch.global_batch_size * loop.task.targets_per_sample,
        "reduce_seconds_per_byte": probes.reduce_seconds_per_byte(loop.device),
        "unit": loop.task.unit,
        "flops_per_token": run.flops_per_token,
        "peak_flops": peak,
        "peak_source": source,
        "memory_bytes": memory_bytes(loop.device),
        "notes": run.data.notes,
    }


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return socket.gethostname()


def _assemble(task: Task, recipe: Recipe, world: World) -> Assembly:
    form = getattr(recipe.task, "data_form", "examples")
    data = synthetic(recipe.data, recipe.tokenizer, recipe.seed, form) if task.synthetic else None
    return assemble(recipe, world, Interrupt(), data)


def _unsynchronised(recipe: Recipe) -> Recipe:
    return recipe.model_copy(update={"sync": config_class("sync", "none")(name="none")})
