"""Every shipped recipe trains some steps on two workers, shrunken by overrides."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hvdtrain.recipe import load, shipped

SMALL = (
    "model={d_model: 16, n_layers: 1, n_heads: 2}",
    "data.max_seq_len=32",
    "tokenizer={name: bpe, vocab_size: 300}",
    "train.global_batch_size=8",
    "train.micro_batch_size=2",
    "train.max_steps=4",
    "train.log_interval=1",
    "train.eval_interval=4",
    "train.eval_samples=6",
    "train.precision=auto",
    "task.sample_tokens=4",
    "sync.cycle_time_ms=1",
)


@pytest.mark.parametrize("name", sorted(shipped()))
def test_a_recipe_trains_on_two_workers(horovodrun, name: str, corpus: Path, tmp_path: Path, demo_text: None) -> None:
    own_text = [f"data.paths=['{corpus}']"] if load(name).recipe.data.name == "text" else []
    horovodrun(2, "-m", "hvdtrain", "train", name, f"output_dir={tmp_path / 'run'}", *SMALL, *own_text)
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records if record["event"] == "step"] == [1, 2, 3, 4]
    assert records[-1]["event"] == "end"
    assert records[-1]["reason"] == "finished"
