"""`hvdtrain checkpoint`: what is whole, what is damaged, and what differs."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from hvdtrain.cli.checkpoint import app
from hvdtrain.errors import CheckpointError
from hvdtrain.train.checkpoint import Snapshot
from hvdtrain.train.saving import Checkpoints

MODEL = {"weight": torch.arange(6.0).view(2, 3), "bias": torch.tensor([math.nan, 0.0])}
OPTIMIZER = {"only.0.exp_avg": torch.ones(2, 3)}


def save(run: Path, step: int, model=MODEL, optimizer=OPTIMIZER, **state) -> Path:
    checkpoints = Checkpoints(run / "checkpoints", recipe="name: small\n", save_tokenizer=None, keep_last=None)
    best = {"step": step, "value": 1.0} if state.pop("best", False) else None
    return Path(checkpoints.save(Snapshot(model, optimizer, {"step": step, **state}), best).path)


def run(*arguments: object) -> tuple[int, list[str]]:
    result = CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)
    return result.exit_code, result.output.splitlines()


def flip(file: Path, offset: int) -> None:
    content = bytearray(file.read_bytes())
    content[offset] ^= 1
    file.write_bytes(content)


def test_the_list_has_the_newest_first_the_best_marked_and_what_is_damaged_named(tmp_path: Path) -> None:
    save(tmp_path, 5, best=True)
    damaged = save(tmp_path, 10)
    save(tmp_path, 15)
    flip(damaged / "model.safetensors", -1)
    code, lines = run("list", tmp_path)
    assert code == 0
    assert [line.split()[0] for line in lines if line.startswith("step")] == ["step-15", "step-10", "step-5"]
    assert [line.split()[3:] for line in lines if line.startswith("step")] == [
        ["whole"],
        ["damaged"],
        ["whole", "best"],
    ]
    assert "model.safetensors is damaged" in lines[2]


def test_verify_names_each_and_fails_where_one_is_not_whole(tmp_path: Path) -> None:
    whole, damaged = save(tmp_path, 5), save(tmp_path, 10)
    assert run("verify", whole) == (0, [f"checkpoint {whole}: whole"])
    assert run("verify", tmp_path)[0] == 0
    (damaged / "state.json").write_text("{}")
    code, lines = run("verify", tmp_path)
    assert code == 1
    assert lines[1] == f"checkpoint {whole}: whole"
    assert "state.json is damaged" in lines[0]
    with pytest.raises(CheckpointError, match="does not exist"):
        run("verify", tmp_path / "other")


def test_equal_checkpoints_do_not_differ_even_in_what_is_no_number(tmp_path: Path) -> None:
    first = save(tmp_path, 5)
    second = shutil.copytree(first, tmp_path / "copy")
    code, lines = run("diff", first, second)
    assert code == 0
    assert lines[-1] == "bit for bit the same: 3 tensors and the state"


def test_the_last_bit_a_sign_of_zero_shapes_and_the_state_differ(tmp_path: Path) -> None:
    first = save(tmp_path / "a", 5, world_size=2, loader={"epoch": 1})
    weight = MODEL["weight"].clone()
    weight[1, 2] = torch.nextafter(weight[1, 2], torch.tensor(9.0))
    changed = {"weight": weight, "bias": torch.tensor([math.nan, -0.0]), "new": torch.ones(1)}
    second = save(tmp_path / "b", 6, changed, {"only.0.exp_avg": torch.ones(3, 2)}, world_size=3, loader={"epoch": 1})
    code, lines = run("diff", tmp_path / "a", second)
    assert code == 1
    assert lines[0] == f"first   {first}"
    assert "weights: 3 tensors differ" in lines
    assert "  weight: 1 of 6 elements, by 4.77e-07 at most" in lines
    assert any(line.startswith("  bias: 1 of 2 elements") for line in lines)
    assert "  new: only in the second" in lines
    assert "  only.0.exp_avg: float32 [2, 3] and float32 [3, 2]" in lines
    assert "  step: 5 and 6" in lines
    assert "  world_size: 2 and 3" in lines
    assert not any("loader" in line for line in lines)
