"""Hugging Face's Trainer with a GPT-2 of the work's sizes, DDP over Gloo.

Run by torchrun with: WORK.json. What costs time and is not training is off: progress bar, saving, reporting, the
search for unused parameters. The optimizer is the Trainer's own default, PyTorch's fused AdamW.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import torch
from gpt2 import gpt2
from samples import CausalSamples
from transformers import Trainer, TrainerCallback, TrainingArguments, set_seed
from work import Meter, read_work


class Metering(TrainerCallback):
    """Tells the meter of each update."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def on_train_begin(self, *arguments: Any, **known: Any) -> None:
        self._meter.start()

    def on_step_end(self, *arguments: Any, **known: Any) -> None:
        self._meter.step()


def main() -> None:
    work = read_work(sys.argv[1])
    torch.set_num_threads(1)
    set_seed(work.seed)
    arguments = TrainingArguments(
        output_dir=f"{work.out}/trainer",
        max_steps=work.steps,
        per_device_train_batch_size=work.micro_batch,
        learning_rate=work.lr,
        lr_scheduler_type="constant",
        adam_beta1=work.betas[0],
        adam_beta2=work.betas[1],
        weight_decay=work.weight_decay,
        max_grad_norm=work.max_grad_norm,
        bf16=work.precision == "bf16",
        use_cpu=True,
        ddp_backend="gloo",
        ddp_find_unused_parameters=False,
        dataloader_pin_memory=False,
        logging_steps=work.window,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=work.seed,
    )
    metering = Metering(Meter(work, int(os.environ["RANK"])))
    trainer = Trainer(gpt2(work), arguments, train_dataset=CausalSamples(work), callbacks=[metering])
    print(f"optimizer {arguments.optim}", flush=True)
    trainer.train()
    torch.distributed.destroy_process_group()  # the Trainer leaves it, and a process that ends with it may abort


if __name__ == "__main__":
    main()
