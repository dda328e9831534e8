"""The state of a run as tensors and JSON: taken for a checkpoint, put back at a resume, and handed to all workers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from hvdtrain.errors import CheckpointError
from hvdtrain.train import optimizers
from hvdtrain.train.checkpoint import Snapshot

if TYPE_CHECKING:
    from hvdtrain.train.loop import Loop
    from hvdtrain.world import World

_OWN, _STATISTICS = "workers", "statistics"


def take(loop: Loop, extra: Mapping[str, Any]) -> Snapshot:
    """Return the loop's state between two updates; `extra` is kept beside it in the JSON part.

    All workers call it together, in the context of the loop's `agreed`. What is a worker's own is there for each, one
    behind the other.
    """
    tensors: dict[str, torch.Tensor] = {}
    optimizers = {}
    for run in loop.phases:
        name = run.phase.name
        optimizers[name], owned = _flatten(run.strategy.state_dict(), name)
        tensors |= owned
        tensors |= _stacked(run.strategy.own_state(), f"{_OWN}.{name}.", loop.world)
    tensors |= _stacked(loop.statistics.own_state(loop.synchronises), f"{_OWN}.{_STATISTICS}.", loop.world)
    scaler = loop.precision.scaler
    state = {
        "step": loop.step,
        "world_size": loop.world.size,
        "global_batch_size": loop.global_batch_size,
        "precision": loop.precision.name,
        "loader": loop.loader.state_dict(),
        "optimizers": optimizers,
        "encoder": loop.encoder.state(),
        "scaler": None if scaler is None else scaler.state_dict(),
        "skipped": loop.world.gather(loop.skipped),
        **extra,
    }
    return Snapshot(model_tensors(loop.model), tensors, state)


def put_back(loop: Loop, snapshot: Snapshot) -> None:
    """Continue from a snapshot.

    Raises:
        CheckpointError: it is of another model, or of another batch, which would change what its step means, or its
            optimizer's state does not fit.
    """
    before = snapshot.state["global_batch_size"]
    if before != loop.global_batch_size:
        raise CheckpointError(
            f"the checkpoint was trained with a global batch of {before}, and this run's is {loop.global_batch_size}: "
            f"{_how_to_keep(before, loop)}, or start anew with --resume never"
        )
    load_model(loop.model, snapshot.model)
    for run in loop.phases:
        name = run.phase.name
        saved = _unflatten(run.strategy.state_dict(), name, snapshot)
        optimizers.check_state(saved["state"], run.parameters, adam="betas" in saved["param_groups"][0])
        run.strategy.load_state_dict(saved)
        run.strategy.load_own_state(_rows(snapshot, name), loop.world.rank)
    loop.statistics.load_own_state(_rows(snapshot, _STATISTICS), loop.synchronises)
    if loop.precision.scaler is not None and snapshot.state["scaler"]:
        loop.precision.scaler.load_state_dict(snapshot.state["scaler"])
    loop.loader.load_state_dict(snapshot.state["loader"])
    loop.step, skipped = snapshot.state["step"], [int(count) for count in snapshot.state["skipped"]]
    loop.skipped = skipped[loop.world.rank] if len(skipped) == loop.world.size else max(skipped)


def _stacked(own: Mapping[str, torch.Tensor], prefix: str, world: World) -> dict[str, torch.Tensor]:
    """Return what each worker has of its own, (workers, ...) each, under names with a prefix: one collective for all
    tensors of a type.
    """
    found: dict[str, torch.Tensor] = {}
    kinds: dict[tuple[torch.dtype, torch.device], list[str]] = {}
    for name, tensor in own.items():
        kinds.setdefault((tensor.dtype, tensor.device), []).append(name)
    for (dtype, _), names in kinds.items():
        flat = torch.cat([own[name].flatten() for name in names])
        rows = world.concatenate(flat.unsqueeze(0), f"own.{prefix}{dtype}")
        for name, part in zip(names, torch.split(rows, [own[name].numel() for name in names], dim=1), strict=True):
            found[prefix + name] = part.reshape(-1, *own[name].shape)
    return {prefix + name: found[prefix + name] for name in own}


def _rows(snapshot: Snapshot, name: str) -> dict[str, torch.Tensor]:
    """Return what each worker had of its own of a phase, or of statistics: stacked, without the names' beginning."""
    prefix = f"{_OWN}.{name}."
    return {key.removeprefix(prefix): t for key, t in snapshot.optimizer.items() if key.startswith(prefix)}


def has_own(snapshot: Snapshot) -> bool:
    """Whether workers had state of their own in it."""
    return any(name.startswith(f"{_OWN}.") for name in snapshot.optimizer)


def were_apart(snapshot: Snapshot) -> bool:
    """Whether its workers never agreed on a model: then it has worker 0's."""
    return any(name.startswith(f"{_OWN}.") and ".none.parameters." in name for name in snapshot.optimizer)


def _how_to_keep(batch: int, loop: Loop) -> str:
    """Say what continues a run of another global batch with the workers that there are."""
    workers = loop.training_workers
    if batch % workers:
        return f"continue it with a number of workers that divides {batch}, and train.global_batch_size={batch}"
    micro = loop.global_batch_size // (workers * loop.passes)
    fits = next(size for size in range(min(micro, batch // workers), 0, -1) if batch % (size * workers) == 0)
    smaller = f" train.micro_batch_size={fits}" if fits != micro else ""
    return f"set train.global_batch_size={batch}{smaller} to continue it with {workers} workers"


def model_tensors(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return the model's tensors by name, a tied one once, under the first of its names."""
    kept: dict[str, torch.Tensor] = {}
    seen: set[int] = set()
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            kept[name] = tensor.detach()
    return kept


def load_model(model: torch.nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    """Copy tensors that `model_tensors` gave into a model.

    Raises:
        CheckpointError: the names or shapes are those of another model.
    """
    own = model_tensors(model)
    missing, unknown = own.keys() - tensors.keys(), tensors.keys() - own.keys()
    if missing or unknown:
        what = f"lacks {min(missing)}" if missing else f"has {min(unknown)}, which this model lacks"
        raise CheckpointError(f"the checkpoint is of another model: it {what}")
    for name, tensor in own.items():
        if tensor.shape != tensors[name].shape:
            raise CheckpointError(
                f"the checkpoint is of another model: {name} is {tuple(tensors[name].shape)} there and "
                f"{tuple(tensor.shape)} here"
            )
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(tensors[name])


def _flatten(whole: dict[str, Any], prefix: str) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Split an optimizer's state into JSON values and tensors named `prefix.parameter.key`."""
    values: dict[str, dict[str, Any]] = {}
    tensors = {}
    for index, entries in whole["state"].items():
        values[str(index)] = {}
        for key, value in entries.items():
            if isinstance(value, torch.Tensor):
                tensors[f"{prefix}.{index}.{key}"] = value
            else:
                values[str(index)][key] = value
    return {"state": values, "param_groups": whole["param_groups"]}, tensors


def _unflatten(own: dict[str, Any], prefix: str, snapshot: Snapshot) -> dict[str, Any]:
    """Join what `_flatten` split; hyperparameters stay this run's own, so that a recipe may change them."""
    saved = snapshot.state["optimizers"].get(prefix)
    sizes = [len(group["params"]) for group in own["param_groups"]]
    if saved is None or [len(group["params"]) for group in saved["param_groups"]] != sizes:
        raise CheckpointError(f"the checkpoint's optimizer of phase {prefix} holds other parameters than this run's")
    state: dict[int, dict[str, Any]] = {int(index): dict(values) for index, values in saved["state"].items()}
    for name, tensor in snapshot.optimizer.items():
        phase, index, key = name.rsplit(".", 2)
        if phase == prefix:
            state[int(index)][key] = tensor.clone()
    return {"state": state, "param_groups": own["param_groups"]}
