"""Lightning's Trainer with a GPT-2 of the work's sizes, DDP over Gloo.

Run by torchrun with: WORK.json. What costs time and is not training is off: progress bar, model summary, checkpoints,
logger. The optimizer is PyTorch's fused AdamW, as Hugging Face's Trainer takes it by default; Lightning's own clipping
refuses a fused optimizer in mixed precision, so that the module clips by itself, as PyTorch does.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import lightning
import torch
from gpt2 import gpt2
from lightning.pytorch.strategies import DDPStrategy
from samples import CausalSamples
from torch.utils.data import DataLoader
from work import Meter, Work, read_work


class Model(lightning.LightningModule):
    """The GPT-2 and its optimizer."""

    def __init__(self, work: Work) -> None:
        super().__init__()
        self._work = work
        self.model = gpt2(work)

    def training_step(self, batch: dict[str, torch.Tensor], index: int) -> torch.Tensor:
        loss: torch.Tensor = self.model(**batch).loss
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        work = self._work
        return torch.optim.AdamW(
            self.parameters(), lr=work.lr, betas=work.betas, weight_decay=work.weight_decay, fused=True
        )

    def configure_gradient_clipping(self, optimizer: Any, **asked: Any) -> None:
        torch.nn.utils.clip_grad_norm_(self.parameters(), self._work.max_grad_norm)


class Metering(lightning.Callback):
    """Tells the meter of each update."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def on_train_start(self, *arguments: Any) -> None:
        self._meter.start()

    def on_train_batch_end(self, *arguments: Any) -> None:
        self._meter.step()


def main() -> None:
    work = read_work(sys.argv[1])
    torch.set_num_threads(1)
    lightning.seed_everything(work.seed, verbose=False)
    trainer = lightning.Trainer(
        accelerator="cpu",
        devices=work.workers,
        strategy=DDPStrategy(process_group_backend="gloo"),
        precision="bf16-mixed" if work.precision == "bf16" else "32-true",
        max_steps=work.steps,
        max_epochs=-1,
        callbacks=[Metering(Meter(work, int(os.environ["RANK"])))],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    samples = CausalSamples(work)
    trainer.fit(Model(work), DataLoader(samples, batch_size=work.micro_batch, shuffle=True, drop_last=True))
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
