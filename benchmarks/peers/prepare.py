"""What the peers are given: the data that hvdtrain prepared, the order in which its workers see it, settings."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from peers.work import Work


def prepare_work(source: str, overrides: Sequence[str], steps: int, window: int, workers: int, folder: Path) -> Work:
    """Write the data of a recipe into the folder, and return the work that trains on it as the recipe says."""
    from hvdtrain.recipe import load
    from hvdtrain.recipe.batching import plan_batch
    from hvdtrain.train.assemble import prepare_for

    recipe = load(source, list(overrides)).recipe
    batch = plan_batch(recipe.train, workers)
    if recipe.model.name != "gpt" or recipe.optimizer.name != "adamw" or recipe.lr_scheduler.name != "constant":
        raise SystemExit(f"{source}: only a GPT that trains with AdamW at a constant learning rate has peers here")
    if batch.passes != 1 or recipe.lr_scheduler.warmup_steps or recipe.train.max_grad_norm is None:
        raise SystemExit(f"{source}: its peers take one micro batch an update, clip gradients and do not warm up")
    data = prepare_for(recipe)
    everything = data.train.batch(np.arange(len(data.train)))
    for name in ("inputs", "targets"):
        np.save(folder / f"{name}.npy", everything[name].numpy())
    np.save(folder / "order.npy", order_of(recipe, data.train, batch, workers, steps))
    return Work(
        steps=steps,
        window=window,
        workers=workers,
        micro_batch=batch.micro_batch_size,
        seq_len=recipe.data.max_seq_len,
        vocab_size=data.encoder.vocab_size,
        precision=recipe.train.precision,
        lr=recipe.optimizer.lr,
        betas=recipe.optimizer.betas,
        weight_decay=recipe.optimizer.weight_decay,
        max_grad_norm=recipe.train.max_grad_norm,
        seed=recipe.seed,
        model=recipe.model.model_dump(mode="json"),
        task=recipe.task.model_dump(mode="json"),
        folder=str(folder),
        out="",
    )


def order_of(recipe: Any, dataset: Any, batch: Any, workers: int, steps: int) -> np.ndarray:
    """Return the samples of each worker at each step: (steps, workers, micro batch) int64."""
    from hvdtrain.data.loader import make_loader

    order = np.empty((steps, workers, batch.micro_batch_size), dtype=np.int64)
    for rank in range(workers):
        loader = make_loader(
            dataset,
            recipe.data.partition,
            seed=recipe.seed,
            rank=rank,
            size=workers,
            epochs=None,
            global_batch_size=batch.global_batch_size,
            micro_batch_size=batch.micro_batch_size,
        )
        for step in range(steps):
            next(loader)
            order[step, rank] = loader.sample_ids
    return order


def hardware() -> str:
    """Return what the machine is; processors of one name differ in the vectors that torch can use."""
    import torch

    from hvdtrain.launched import usable_cores
    from hvdtrain.report.environment import processor

    return f"{usable_cores()} cores, {processor()}, {torch.backends.cpu.get_cpu_capability()}"


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Return the versions of those packages that are installed."""
    found = {}
    for name in packages:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
