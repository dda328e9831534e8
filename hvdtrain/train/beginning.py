"""The first record of a run: everything that a reader needs to interpret the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from hvdtrain import world as worlds
from hvdtrain.metrics.records import StartRecord
from hvdtrain.sync._config import SyncConfig
from hvdtrain.train import device as devices

if TYPE_CHECKING:
    from hvdtrain.train.assemble import Assembly
    from hvdtrain.train.resume import Origin


def start_record(
    assembly: Assembly, origin: Origin, engine: Mapping[str, str], followed: tuple[str, str]
) -> StartRecord:
    """Make the record of a run as it is about to begin or go on; all workers call it together.

    Args:
        engine: the knobs of Horovod's engine, as a person reads them.
        followed: the metric by which checkpoints are chosen, with "min" or "max".
    """
    loop, recipe, hosts = assembly.loop, assembly.recipe, worlds.hosts(assembly.loop.world)
    return StartRecord(
        step=loop.step,
        name=recipe.name,
        output_dir=str(recipe.output_dir),
        world_size=loop.world.size,
        servers=loop.servers,
        hosts=len(set(hosts)),
        device=devices.describe(loop.device),
        threads_per_worker=assembly.threads,
        precision=loop.precision.name,
        precision_reason=loop.precision.reason,
        total_steps=loop.total_steps,
        global_batch_size=assembly.batch.global_batch_size,
        micro_batch_size=assembly.batch.micro_batch_size,
        gradient_accumulation_steps=assembly.batch.passes,
        learning_rate=loop.schedule.peak,
        learning_rate_rule=loop.schedule.rule,
        parameters=assembly.parameters,
        flops_per_token=assembly.flops_per_token,
        train_targets=assembly.data.train.targets,
        val_targets=assembly.data.val.targets,
        unit=loop.task.unit,
        loss_unit=loop.task.loss_unit,
        objective=followed,
        references=loop.task.references(assembly.data, "val"),
        sync=recipe.sync.name if loop.world.size > 1 else "none",
        engine=engine,
        resumed_from=origin.source,
        notes=(*_workers_notes(assembly, hosts), *assembly.data.notes, *origin.notes),
    )


def _workers_notes(assembly: Assembly, hosts: list[str]) -> tuple[str, ...]:
    sync = assembly.recipe.sync
    own = sync.notes(hosts) if isinstance(sync, SyncConfig) and len(hosts) > 1 else ()
    return (*own, *devices.crowding(assembly.threads, assembly.loop.world))
