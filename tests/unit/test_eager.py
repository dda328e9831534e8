"""Optimizers without torch's compiler: they compute what torch's do, and a run never imports it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hvdtrain import eager

NEVER = ("torch._dynamo", "sympy", "matplotlib", "pandas")
"""What takes from half a second to two to import, and memory of each worker."""
RUN = f"""
import sys
from hvdtrain.cli.train import train
train(sys.argv[1], sys.argv[2:], plain=True)
print("imported:", *(name for name in {NEVER} if name in sys.modules))
"""


def history(optimizer: type[torch.optim.Optimizer], options: dict[str, Any]) -> tuple[list[torch.Tensor], dict]:
    """The parameters after each of four updates, with a resume in the middle, and the state that is left."""
    torch.manual_seed(3)
    parameters = [torch.nn.Parameter(torch.randn(5, 3)), torch.nn.Parameter(torch.randn(4))]
    made, found = optimizer(parameters, **options), []
    for step in range(4):
        if step == 2:
            kept = made.state_dict()
            made = optimizer(parameters, **options)
            made.load_state_dict(kept)
        made.zero_grad()
        sum((p**3).sum() for p in parameters).backward()  # type: ignore[union-attr]
        made.step()
        found += [p.detach().clone() for p in parameters]
    return found, made.state_dict()


@pytest.mark.parametrize(
    ("ours", "theirs", "options"),
    [
        (eager.AdamW, torch.optim.AdamW, {"lr": 0.1, "fused": True, "weight_decay": 0.2}),
        (eager.AdamW, torch.optim.AdamW, {"lr": 0.1, "betas": (0.5, 0.7)}),
        (eager.SGD, torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    ],
)
def test_they_update_as_torchs_do(ours: type, theirs: type, options: dict[str, Any]) -> None:
    (found, state), (expected, expected_state) = history(ours, options), history(theirs, options)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    torch.testing.assert_close(state, expected_state, rtol=0, atol=0)
    assert issubclass(ours, theirs)


def test_an_update_is_not_part_of_the_graph() -> None:
    parameter = torch.nn.Parameter(torch.ones(2))
    optimizer = eager.SGD([parameter], lr=0.5, momentum=0.9)
    parameter.sum().backward()
    optimizer.step()
    assert parameter.grad_fn is None
    assert parameter.tolist() == [0.5, 0.5]


@pytest.mark.parametrize("recipe", ["small", "cnn-digits"])
def test_a_run_does_not_import_what_it_does_not_use(
    recipe: str, small_recipe: Path, fetched_data: Callable[[str], Path], tmp_path: Path
) -> None:
    """Of the first the work of a step is known by a formula, of the other it is counted."""
    if recipe != "small":
        fetched_data("digits")
    chosen = str(small_recipe) if recipe == "small" else recipe
    changes = ["train.max_steps=2", "train.epochs=null", "train.plots=false", f"output_dir={tmp_path / 'run'}"]
    command = [sys.executable, "-c", RUN, chosen, *changes]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.splitlines()[-1] == "imported:"
