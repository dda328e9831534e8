"""benchmarks/reliability: short forms of the campaigns that need no workers, in processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[3] / "benchmarks" / "reliability"


def campaign(name: str, results: Path, *arguments: str) -> list[dict[str, Any]]:
    """Run a campaign whose account goes into a folder of its own; return its trials."""
    setup = f"from pathlib import Path; import ledger; ledger.RESULTS = Path({str(results)!r})"
    code = f"{setup}; import {name}; {name}.main()"
    finished = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=FOLDER, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    lines = (results / f"{name}.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_every_damage_to_a_checkpoint_is_noticed(tmp_path: Path) -> None:
    [trial] = campaign("damage", tmp_path, "--offsets", "120", "--seed", "7")
    assert (trial["detected"], trial["silent"]) == (120, [])


@pytest.mark.parametrize(("kind", "count"), [("recipes", 300), ("checkpoints", 100), ("resumes", 20), ("data", 60)])
def test_mutated_input_is_read_or_refused_and_does_nothing_else(tmp_path: Path, kind: str, count: int) -> None:
    none = {"recipes": 0, "checkpoints": 0, "resumes": 0, "data": 0}
    counts = [part for name, value in (none | {kind: count}).items() for part in (f"--{name}", str(value))]
    [trial] = campaign("fuzz", tmp_path, *counts, "--seed", "11")
    assert (trial["wrong"], trial["deeds"]) == ({}, {})
    assert trial["outcomes"]["refused"] > count / 4
    assert trial["outcomes"]["fine"] > 0


def test_hostile_deeds_are_noticed_by_the_watch(tmp_path: Path) -> None:
    """Or a campaign that finds none would show nothing."""
    code = """
import os, pickle, subprocess, sys
from pathlib import Path
from watch import Watch, outcome
inside = Path(sys.argv[1]) / "inside"
inside.mkdir()
watch = Watch(inside)
with watch.ing():
    (inside / "mine").write_text("x")
    (inside.parent / "outside").write_text("x")
    subprocess.run(["true"])
    pickle.loads(pickle.dumps(os.getpid))
    os.rename(inside / "mine", inside.parent / "moved")
print(*watch.deeds, sep="\\n")
print(outcome(lambda: 1 / 0, KeyError, 5.0))
print(outcome(lambda: {}["x"], KeyError, 5.0))
print(outcome(lambda: [None for _ in iter(int, 1)], KeyError, 0.2))
"""
    finished = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=FOLDER, capture_output=True, text=True, check=True
    )
    *deeds, crash, refused, long = finished.stdout.splitlines()
    assert [deed.split()[0] for deed in deeds if "outside" in deed] == ["open"]
    assert [deed.split()[0] for deed in deeds if "moved" in deed] == ["os.rename"]
    assert any(deed.startswith("subprocess.Popen") for deed in deeds)
    assert any(deed.startswith("pickle.find_class") for deed in deeds)
    assert not any(deed.endswith("inside/mine") and deed.startswith("open") for deed in deeds)
    assert crash.startswith("ZeroDivisionError")
    assert (refused, long) == ("refused", "longer than 0.2 s")
