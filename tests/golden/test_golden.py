"""Losses recorded once: a change of the numbers that nobody meant turns this red.

    python tests/golden/test_golden.py    records them anew, after a change that was meant

They are equal to the last bit where torch, the instruction set and the threads are those of the recording, else to
1e-5, which float32 sums in another order stay below over these 20 updates.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch

GOLDEN = Path(__file__).with_name("small.json")
TEXT = Path(__file__).parents[2] / "LICENSE"
RECIPE = f"""\
name: golden
task: {{name: language_modeling, sample_tokens: 0}}
model: {{name: gpt, d_model: 32, n_layers: 2, n_heads: 4, n_kv_heads: 2}}
data: {{name: text, paths: ["{TEXT}"], max_seq_len: 32, val_fraction: 0.1}}
tokenizer: {{name: bpe, vocab_size: 300}}
optimizer: {{name: adamw, lr: 3e-3, weight_decay: 0.1}}
lr_scheduler: {{name: cosine, warmup_steps: 5}}
train:
  global_batch_size: 8
  micro_batch_size: 4
  max_steps: 20
  precision: fp32
  deterministic: true
  eval_interval: 20
  log_interval: 1
  plots: false
  threads_per_worker: 1
"""


def conditions() -> dict[str, object]:
    """What the last bit depends on."""
    flags = re.search(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    vector = sorted({flag for flag in flags[1].split() if re.match(r"avx|amx|fma|sse", flag)}) if flags else []
    return {"torch": torch.__version__, "instructions": vector, "threads": 1}


def train(folder: Path) -> dict[str, list[float]]:
    recipe = folder / "golden.yaml"
    recipe.write_text(RECIPE)
    command = [sys.executable, "-m", "hvdtrain", "train", recipe, f"output_dir={folder}/run"]
    subprocess.run([*map(str, command)], check=True, capture_output=True)
    records = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    return {
        "train": [record["loss"] for record in records if record["event"] == "step"],
        "validation": [record["metrics"]["loss"] for record in records if record["event"] == "eval"],
    }


def test_losses_are_those_recorded(tmp_path: Path) -> None:
    golden = json.loads(GOLDEN.read_text())
    losses = train(tmp_path)
    if golden["conditions"] == conditions():
        assert losses == golden["losses"]
    else:
        for split, values in golden["losses"].items():
            assert losses[split] == pytest.approx(values, rel=1e-5)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        GOLDEN.write_text(json.dumps({"conditions": conditions(), "losses": train(Path(folder))}, indent=1) + "\n")
