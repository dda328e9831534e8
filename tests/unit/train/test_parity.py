"""`hvdtrain train` against a plain-torch loop written without its loop, schedules, optimizers, loader or task."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from hvdtrain.data.prepare import prepare
from hvdtrain.models import gpt
from hvdtrain.models._spec import DataSpec
from hvdtrain.recipe import load

SEED, STEPS, WARMUP, GLOBAL, MICRO, LR, MIN_LR, WIDTH = 1234, 20, 5, 12, 2, 3e-3, 3e-4, 16


def plain_torch(recipe_path: Path) -> tuple[dict[str, torch.Tensor], list[float]]:
    """Train as a user would by hand; the numbers above repeat what the recipe says."""
    recipe = load(recipe_path).recipe
    tokens = prepare(recipe.data, recipe.tokenizer, SEED)
    stream = tokens.train.batch(np.arange(len(tokens.train)))
    order = np.argsort(np.random.Philox(np.random.SeedSequence([SEED, 0])).random_raw(len(tokens.train)), kind="stable")
    torch.manual_seed(SEED)
    model = gpt.build(gpt.Config(d_model=32, n_layers=2, n_heads=2), DataSpec(tokens.encoder.vocab_size, WIDTH))
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim == 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}],
        betas=(0.9, 0.95),
        fused=True,
    )
    losses = []
    for step in range(STEPS):
        decayed = MIN_LR + (LR - MIN_LR) * 0.5 * (1 + math.cos(math.pi * (step - WARMUP) / (STEPS - WARMUP)))
        for group in optimizer.param_groups:
            group["lr"] = LR * (step + 1) / WARMUP if step < WARMUP else decayed
        total = 0.0
        for begin in range(step * GLOBAL, (step + 1) * GLOBAL, MICRO):
            rows = order[begin : begin + MICRO]
            logits = model(stream["inputs"][rows])
            loss = F.cross_entropy(logits.flatten(0, 1), stream["targets"][rows].flatten(), reduction="sum")
            (loss / (GLOBAL * WIDTH)).backward()
            total += float(loss.detach())
        losses.append(total / (GLOBAL * WIDTH))
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return {name: p.detach() for name, p in model.named_parameters()}, losses


def test_one_worker_equals_plain_torch_to_the_last_bit(small_recipe: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hvdtrain", "train", small_recipe, f"output_dir={tmp_path}/run"]
    subprocess.run([*map(str, command)], check=True, capture_output=True)
    trained = load_file(tmp_path / "run" / "checkpoints" / "step-20" / "model.safetensors")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        expected, losses = plain_torch(small_recipe)
    finally:
        torch.set_num_threads(threads)
    assert losses[-1] < losses[0] - 0.5, "a loop that does not learn shows nothing"
    records = map(json.loads, (tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    # The sums of losses are in double precision there, of float32 terms here and there.
    assert [r["loss"] for r in records if r["event"] == "step"] == pytest.approx(losses, rel=1e-6)
    for name, tensor in expected.items():
        assert torch.equal(trained[name], tensor), name
