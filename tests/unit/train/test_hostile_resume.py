"""Going on from a checkpoint that a stranger made, whose manifest fits: refused by name, whatever is in it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from hvdtrain.cli.train import train
from hvdtrain.errors import CheckpointError
from hvdtrain.train import checkpoint

CONSTANT = "lr_scheduler={name: constant}"
STATES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "nothing of targets": (lambda state: state.pop("targets"), "targets"),
    "a list of an objective": (lambda state: state.update(objective=[1]), "best evaluation"),
    "an objective without a best": (lambda state: state["objective"].pop("best"), "best evaluation"),
    "a best of text": (lambda state: state["objective"].update(best="x"), "best evaluation"),
    "a mark of text": (lambda state: state["objective"].update(mark="a"), "best evaluation"),
    "a place beyond 64 bits": (lambda state: state["loader"].update(position=2**70), "place in the order"),
    "a place before the first": (lambda state: state["loader"].update(position=-1), "place in the order"),
    "a place of no number": (lambda state: state["loader"].update(position=1e300), "place in the order"),
}


def moments(state: dict[str, torch.Tensor]) -> str:
    return next(name for name, tensor in state.items() if name.endswith(".exp_avg") and tensor.dim() == 2)


TENSORS: dict[str, Callable[[dict[str, torch.Tensor]], object]] = {
    "a moment of one element": lambda state: state.update({moments(state): torch.zeros(1)}),
    "a moment without an extent": lambda state: state.update({moments(state): torch.tensor(0.0)}),
    "a moment of integers": lambda state: state.update({moments(state): state[moments(state)].int()}),
    "no moment": lambda state: state.pop(moments(state)),
    "a parameter too many": lambda state: state.update({"language_modeling.999.step": torch.tensor(1.0)}),
    "another value": lambda state: state.update({"language_modeling.0.name": torch.tensor(1.0)}),
}


@pytest.fixture(scope="module")
def whole(small_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("whole") / "run"
    train(str(small_recipe), [f"output_dir={output}", "train.max_steps=10", CONSTANT], plain=True)
    return output


@pytest.fixture
def refused(whole: Path, small_recipe: Path, tmp_path: Path) -> Callable[..., str]:
    """Return a function that changes a file of the checkpoint, makes the manifest fit, and tells how it is refused."""

    def resume(name: str, change: Callable[[Path], object]) -> str:
        shutil.copytree(whole, tmp_path / "run")
        place = tmp_path / "run" / "checkpoints" / "step-10"
        change(place / name)
        manifest = json.loads((place / "manifest.json").read_text())
        manifest["files"][name] = checkpoint.sha256(place / name)
        (place / "manifest.json").write_text(json.dumps(manifest))
        with pytest.raises(CheckpointError) as raised:
            train(str(small_recipe), [f"output_dir={tmp_path / 'run'}", CONSTANT], plain=True)
        return str(raised.value)

    return resume


@pytest.mark.parametrize("case", STATES)
def test_a_state_that_can_not_be(refused: Callable[..., str], case: str) -> None:
    alter, named = STATES[case]

    def change(path: Path) -> None:
        state = json.loads(path.read_text())
        alter(state)
        path.write_text(json.dumps(state))

    assert named in refused("state.json", change)


@pytest.mark.parametrize("case", TENSORS)
def test_optimizer_state_of_another_form(refused: Callable[..., str], case: str) -> None:
    """A fused step would read and write beyond it."""

    def change(path: Path) -> None:
        state = load_file(path)
        TENSORS[case](state)
        save_file(state, path)

    assert "optimizer" in refused("optimizer.safetensors", change) or case == "a parameter too many"
