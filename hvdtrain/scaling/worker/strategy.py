"""A run of a comparison on one worker: the recipe's own loop with its own data, timed, then validated."""

from __future__ import annotations

import socket
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import psutil
import torch

from hvdtrain import world as worlds
from hvdtrain.metrics.strategies import StrategyRecord
from hvdtrain.train import device as devices
from hvdtrain.train.assemble import Assembly, assemble
from hvdtrain.train.engine import join
from hvdtrain.train.evaluation import validate
from hvdtrain.train.interrupt import Interrupt

if TYPE_CHECKING:
    from hvdtrain.recipe import LoadedRecipe
    from hvdtrain.scaling.compare.run import StrategyTask
    from hvdtrain.sync._strategy import Strategy
    from hvdtrain.train.loop import Update


def train(task: StrategyTask, loaded: LoadedRecipe) -> StrategyRecord:
    """Train and return what this worker measured.

    Workers that do not synchronise are the floor: they shut the engine down before they begin, and validate by
    themselves, each on its share of the data.
    """
    joined = join(loaded)
    world, knobs = joined.world, joined.knobs
    apart = loaded.recipe.sync.name == "none" and world.size > 1
    run = assemble(loaded.recipe, worlds.Detached(world) if apart else world, Interrupt())
    known: dict[str, Any] = {
        "controller": world.controller,
        "engine": {name: str(knob) for name, knob in knobs.items() if name.startswith("HOROVOD_")},
        "notes": (*run.data.notes, *devices.crowding(run.threads, world)),
    }
    world.gather(None)
    if apart:
        world.close()
    updates, found = _updates(run, task)
    known |= found | {"metrics": _validate(run), "state_bytes": sum(map(_state_bytes, _strategies(run)))}
    if not apart:
        world.gather(None)
        world.close()
    return StrategyRecord(step=run.loop.step, rank=world.rank, world_size=world.size, **_facts(run, updates), **known)


def _updates(run: Assembly, task: StrategyTask) -> tuple[list[Update], dict[str, Any]]:
    """Do the updates; return them, and what was measured meanwhile."""
    loop = run.loop
    forget_peak(loop.device)
    count = min(task.steps, loop.total_steps)
    warmup = min(task.warmup, count - 1)
    iterator = loop.updates()
    updates = [next(iterator) for _ in range(warmup)]
    sent = psutil.net_io_counters().bytes_sent
    updates += [next(iterator) for _ in range(count - warmup)]
    sent = psutil.net_io_counters().bytes_sent - sent
    loop.stopwatch.pause()
    # Means, not medians: some strategies do in one update of many what others do in each.
    seconds = [step["step"] for step in loop.stopwatch.drain()[warmup:]]
    timed = updates[warmup:]
    return updates, {
        "timed": len(timed),
        "wall": sum(seconds),
        "samples": sum(update.samples for update in timed),
        "tokens": sum(update.targets for update in timed),
        "sent_bytes": sent / len(timed) / loop.world.local_size,
        "memory_bytes": peak_bytes(loop.device),
    }


def _validate(run: Assembly) -> dict[str, float]:
    """Return the metrics of the model that is the run's result so far."""
    loop = run.loop
    loop.check_weights()
    with loop.agreed():
        record = validate(run)
    return dict(record.metrics)


def _facts(run: Assembly, updates: list[Update]) -> dict[str, Any]:
    loop, config = run.loop, run.recipe.train
    strategies = _strategies(run)
    served = [amount for one in strategies if (amount := getattr(one, "server_bytes_per_step", None)) is not None]
    wanted = config.objective
    return {
        "host": socket.gethostname(),
        "coupled": loop.coupled,
        "train_loss": fmean(update.loss for update in updates[-config.log_interval :]),
        "objective": (wanted.metric, wanted.mode) if wanted else loop.task.objective,
        "loss_unit": loop.task.loss_unit,
        "unit": loop.task.unit,
        "bytes_per_step": float(sum(one.bytes_per_step for one in strategies)),
        "server_bytes_per_step": float(sum(map(sum, served))) if served else None,
        "device": devices.describe(loop.device),
        "precision": loop.precision.name,
        "threads": run.threads,
        "parameters": run.parameters,
        "global_batch_size": run.batch.global_batch_size,
        "micro_batch_size": run.batch.micro_batch_size,
        "gradient_accumulation_steps": run.batch.passes,
    }


def _strategies(run: Assembly) -> list[Strategy]:
    return [phase.strategy for phase in run.loop.phases]


def _state_bytes(strategy: Any) -> int:
    """Return the bytes of optimizer state that this worker keeps; a strategy that knows better says so itself."""
    if hasattr(strategy, "state_bytes"):
        return int(strategy.state_bytes())
    kept = (value for entry in strategy.optimizer.state.values() for value in entry.values())
    return sum(value.numel() * value.element_size() for value in kept if isinstance(value, torch.Tensor))


def forget_peak(device: torch.device) -> None:
    """Let the peak of memory begin anew, where the system can (Linux: proc_pid_clear_refs(5))."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return


def peak_bytes(device: torch.device) -> int:
    """Return the peak since `forget_peak`: of device memory on a GPU, else of this process's resident set; what is
    resident now where the system does not tell the peak.
    """
    if device.type != "cuda":
        try:
            status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        except OSError:
            status = ""
        for line in status.splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return devices.memory_bytes(device)
