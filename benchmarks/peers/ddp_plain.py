"""A plain DistributedDataParallel script with a GPT of its own, as its user would write it without any trainer.

Run by torchrun with: WORK.json. PyTorch's defaults throughout: AdamW as it comes, DataLoader, DistributedSampler.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import torch
import torch.distributed as dist
import torch.nn.functional as F
from plain_gpt import PlainGPT
from samples import Samples
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler
from work import Meter, Work, read_work


def main() -> None:
    work = read_work(sys.argv[1])
    dist.init_process_group("gloo")
    torch.set_num_threads(1)
    torch.manual_seed(work.seed)
    shape = work.model
    gpt = PlainGPT(work.vocab_size, work.seq_len, shape["d_model"], shape["n_layers"], shape["n_heads"])
    model = DistributedDataParallel(gpt)
    optimizer = torch.optim.AdamW(model.parameters(), lr=work.lr, betas=work.betas, weight_decay=work.weight_decay)
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=work.precision == "bf16")
    batches, meter = endless(work), Meter(work, dist.get_rank())
    meter.start()
    for _ in range(work.steps):
        batch = next(batches)
        with autocast:
            logits = model(batch["inputs"])
            loss = F.cross_entropy(logits.view(-1, logits.size(-1)), batch["targets"].view(-1))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), work.max_grad_norm)
        optimizer.step()
        meter.step()
    dist.destroy_process_group()


def endless(work: Work) -> Iterator[dict[str, torch.Tensor]]:
    """Yield this worker's batches, one epoch after the other."""
    sampler: DistributedSampler[dict[str, torch.Tensor]] = DistributedSampler(samples := Samples(work), seed=work.seed)
    loader = DataLoader(samples, batch_size=work.micro_batch, sampler=sampler, drop_last=True)
    epoch = 0
    while True:
        sampler.set_epoch(epoch)
        yield from loader
        epoch += 1


if __name__ == "__main__":
    main()
