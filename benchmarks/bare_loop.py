"""A hand-written Horovod training loop, as its user would write it without hvdtrain: the peer of `overhead.py`.

Run under horovodrun with: RECIPE STEPS WINDOW [OVERRIDE ...]. It takes the model, batches, optimizer settings and
precision from the recipe, and everything else is written out. Worker 0 prints one JSON line: tokens/s of each window
of steps.
"""

from __future__ import annotations

import json
import os
import sys
import time

import horovod.torch as hvd
import torch
from torch.nn import functional as F

from hvdtrain import registry
from hvdtrain.data.loader import make_loader
from hvdtrain.models._spec import DataSpec
from hvdtrain.recipe import load
from hvdtrain.recipe.batching import plan_batch
from hvdtrain.train.assemble import prepare_for


def main() -> None:
    source, steps, window = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    recipe = load(source, sys.argv[4:]).recipe
    hvd.init()
    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // hvd.local_size()))
    batch = plan_batch(recipe.train, hvd.size())
    data = prepare_for(recipe)
    torch.manual_seed(recipe.seed)
    spec = DataSpec(data.encoder.vocab_size, recipe.data.max_seq_len)
    model = registry.find("models", recipe.model.name).build(recipe.model, spec)
    hvd.broadcast_parameters(model.state_dict(), root_rank=0)
    config = recipe.optimizer
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in model.parameters() if p.ndim >= 2], "weight_decay": config.weight_decay},
            {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0},
        ],
        lr=config.lr,
        betas=config.betas,
        fused=True,
    )
    optimizer = hvd.DistributedOptimizer(
        optimizer, named_parameters=model.named_parameters(), backward_passes_per_step=batch.passes
    )
    loader = make_loader(
        data.train,
        recipe.data.partition,
        seed=recipe.seed,
        global_batch_size=batch.global_batch_size,
        micro_batch_size=batch.micro_batch_size,
        rank=hvd.rank(),
        size=hvd.size(),
        epochs=None,
    )
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=recipe.train.precision == "bf16")
    rates, began = [], time.perf_counter()
    for step in range(1, steps + 1):
        for micro in next(loader):
            with autocast:
                logits = model(micro["inputs"])
                loss = F.cross_entropy(logits.view(-1, logits.size(-1)), micro["targets"].view(-1)) / batch.passes
            loss.backward()
        optimizer.synchronize()
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.train.max_grad_norm)
        with optimizer.skip_synchronize():
            optimizer.step()
        optimizer.zero_grad()
        if step % window == 0:
            now = time.perf_counter()
            rates.append(window * batch.global_batch_size * recipe.data.max_seq_len / (now - began))
            began = now
    if hvd.rank() == 0:
        print(json.dumps({"tokens_per_second": rates}), flush=True)
    hvd.shutdown()


if __name__ == "__main__":
    main()
