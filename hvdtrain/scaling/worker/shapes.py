"""The shapes of a recipe's model and of what autograd keeps of it: found without memory or computation."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from hvdtrain import registry
from hvdtrain.data.synthetic import synthetic
from hvdtrain.scaling.prediction.memory import Shapes
from hvdtrain.sync._config import EngineConfig
from hvdtrain.sync._engine import knobs
from hvdtrain.tasks._task import Batch, Task
from hvdtrain.tasks._task import build as build_task
from hvdtrain.train.flops import first_samples, flops_per_target
from hvdtrain.train.precision import Precision, choose

if TYPE_CHECKING:
    from hvdtrain.data.prepared import PreparedData
    from hvdtrain.models._spec import DataSpec
    from hvdtrain.recipe import LoadedRecipe, Recipe


def shapes(recipe: Recipe) -> Shapes:
    """Return the shapes of a recipe's model, at its micro batch, in the precision that it has on this machine.

    The model is built of fake tensors: meta tensors, which hold shapes alone, that say they lie on the CPU, so that
    autocast and attention choose what they would choose there. A model that can't be run so is run on one real sample
    and on two, and its activations are taken to go on growing so.
    """
    data = synthetic(recipe.data, recipe.tokenizer, recipe.seed, getattr(recipe.task, "data_form", "examples"))
    task = build_task(recipe.task, data.encoder)
    spec = task.spec
    micro = recipe.train.micro_batch_size
    precision = choose(recipe.train.precision if recipe.train.precision != "fp16" else "bf16", torch.device("cpu"))
    batch = first_samples(task, data.train, micro)
    notes: tuple[str, ...] = ()
    try:
        with FakeTensorMode(allow_non_fake_inputs=False) as mode:
            model = _build(recipe, spec)
            fake: Batch = {name: mode.from_tensor(tensor) for name, tensor in batch.items()}
            kept = saved_bytes(model, task, fake, precision)
    except (RuntimeError, NotImplementedError, TypeError) as error:
        model = _build(recipe, spec)
        one, two = (saved_bytes(model, task, first_samples(task, data.train, samples), precision) for samples in (1, 2))
        kept = one + (micro - 1) * (two - one)
        what = str(error).splitlines()[0] if str(error) else type(error).__name__
        notes = (
            f"activations: from those of one sample and of two, because the model can't be run on shapes ({what})",
        )
    named = dict(model.named_parameters())
    trained = {name: p for name, p in named.items() if p.requires_grad and any(one.trains(name) for one in task.phases)}
    tokens = micro * task.targets_per_sample
    return Shapes(
        parameters=_sizes(named) + _sizes(dict(model.named_buffers())),
        trained=_sizes(trained),
        activations=kept,
        flops=_flops(model, recipe, task, data) * tokens,
        tokens=tokens,
        samples=micro,
        precision=precision.name,
        notes=notes,
        unit=task.unit,
    )


def saved_bytes(model: torch.nn.Module, task: Task, batch: Batch, precision: Precision) -> int:
    """Return the bytes that autograd keeps between forward and backward, of the task's most costly phase.

    Counts each storage once, and neither parameters, buffers nor the batch.
    """
    own = {id_of(t) for t in (*model.parameters(), *model.buffers(), *batch.values())}

    def count(loss: Callable[[torch.nn.Module, Batch], torch.Tensor]) -> int:
        kept: dict[int, torch.Tensor] = {}  # holding the tensors keeps their storages' names unique

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            if id_of(tensor) not in own:
                kept[id_of(tensor)] = tensor
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), precision.autocast():
            result = loss(model, batch)
        del result
        return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())

    return max(count(phase.loss) for phase in task.phases)


def id_of(tensor: torch.Tensor) -> int:
    """Return what names a tensor's storage while it lives."""
    return int(tensor.untyped_storage()._cdata)


def _flops(model: torch.nn.Module, recipe: Recipe, task: Task, data: PreparedData) -> float:
    """Return the FLOPs for one target; only a model without a formula is built, to count them."""
    if not hasattr(model, "flops_per_token"):
        with torch.random.fork_rng():
            model = _build(recipe, task.spec)
    return flops_per_target(model, task, data.train, torch.device("cpu"))


def _build(recipe: Recipe, spec: DataSpec) -> torch.nn.Module:
    model: torch.nn.Module = registry.find("models", recipe.model.name).build(recipe.model, spec)
    return model


def _sizes(tensors: Mapping[str, torch.Tensor]) -> tuple[tuple[str, int], ...]:
    return tuple((name, t.numel() * t.element_size()) for name, t in tensors.items())


def engine_knobs(loaded: LoadedRecipe, on_gpu: bool) -> dict[str, str]:
    """Return the engine's knobs by environment variable, as workers with or without GPUs would have them."""
    sync = loaded.recipe.sync
    chosen = knobs(
        sync if isinstance(sync, EngineConfig) else EngineConfig(name=sync.name),
        origins=loaded.origins,
        environment=os.environ,
        on_gpu=on_gpu,
        deterministic=loaded.recipe.train.deterministic,
    )
    return {name: str(knob) for name, knob in chosen.items() if name.startswith("HOROVOD_")}


def has_gpu() -> bool:
    """Return whether workers here compute on GPUs."""
    return torch.cuda.is_available()
