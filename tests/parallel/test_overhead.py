"""benchmarks/overhead.py runs: hvdtrain's loop and the hand-written one on the same recipe."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("horovod.torch", reason="Horovod is not installed")
SCRIPT = Path(__file__).parents[2] / "benchmarks" / "overhead.py"


def test_both_loops_train_the_recipe_and_are_compared(small_recipe: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--rounds", "1", "--steps", "20", "--recipe", str(small_recipe)]
    finished = subprocess.run(
        [*command, "train.max_grad_norm=1.0"], capture_output=True, text=True, timeout=280, check=False
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    found = re.search(r"round 1: hvdtrain (\d+), bare (\d+) tokens/s, ratio ([\d.]+)", finished.stdout)
    assert found, finished.stdout
    ours, bare, ratio = map(json.loads, found.groups())
    assert ratio == pytest.approx(ours / bare, rel=0.01)
