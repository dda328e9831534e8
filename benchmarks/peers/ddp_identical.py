"""Plain DistributedDataParallel around hvdtrain's own module: the same weights, batches, loss, optimizer and clipping.

Run by torchrun with: WORK.json [--bucket-view]. The C library's allocator is set as hvdtrain sets it, too: what differs
is the loop, and who sums the gradients.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from work import Meter, Work, read_work, write_whole

from hvdtrain import registry
from hvdtrain.data.encoders import CorpusEncoder
from hvdtrain.models._spec import DataSpec
from hvdtrain.tasks._task import Task
from hvdtrain.tasks._task import build as build_task
from hvdtrain.train.allocator import reuse_freed_memory


def main() -> None:
    work, bucket_view = read_work(sys.argv[1]), "--bucket-view" in sys.argv
    dist.init_process_group("gloo")
    torch.set_num_threads(1)
    torch.manual_seed(work.seed)
    name = work.model["name"]
    config = registry.config_class("models", name)(**work.model)
    model = registry.find("models", name).build(config, DataSpec(work.vocab_size, work.seq_len))
    reuse_freed_memory()
    losses = train(work, model, DistributedDataParallel(model, gradient_as_bucket_view=bucket_view))
    dist.all_reduce(losses)
    if dist.get_rank() == 0:
        means = (losses / dist.get_world_size()).view(-1, work.window).mean(dim=1)
        write_whole(Path(work.out) / "losses.json", means.tolist())
    dist.destroy_process_group()


def train(work: Work, model: torch.nn.Module, wrapped: torch.nn.Module) -> torch.Tensor:
    """Train, and return this worker's loss at each step: (steps,) float64."""
    [phase] = task_of(work).phases
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in model.parameters() if p.ndim >= 2], "weight_decay": work.weight_decay},
            {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0},
        ],
        lr=work.lr,
        betas=work.betas,
        fused=True,
    )
    rank, targets = dist.get_rank(), work.micro_batch * work.seq_len
    inputs, wanted = (np.load(Path(work.folder) / f"{name}.npy", mmap_mode="r") for name in ("inputs", "targets"))
    order = np.load(Path(work.folder) / "order.npy")[:, rank]
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=work.precision == "bf16")
    meter, losses = Meter(work, rank), torch.zeros(work.steps, dtype=torch.float64)
    meter.start()
    for step in range(work.steps):
        samples = order[step]
        batch = {"inputs": torch.from_numpy(inputs[samples]), "targets": torch.from_numpy(wanted[samples])}
        with autocast:
            loss = phase.loss(wrapped, batch) / targets
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), work.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
        losses[step] = loss.detach()
        meter.step()
    return losses


def task_of(work: Work) -> Task:
    """Return hvdtrain's task: its loss is the one to compare with."""
    encoder = CorpusEncoder(vocab_size=work.vocab_size, max_seq_len=work.seq_len)
    return build_task(registry.config_class("tasks", work.task["name"])(**work.task), encoder)


if __name__ == "__main__":
    main()
