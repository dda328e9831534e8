"""`hvdtrain evaluate` and `hvdtrain predict` on small models that were really trained, on files of a user's own."""

from __future__ import annotations

import csv
import io
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hvdtrain.cli.app import main
from hvdtrain.cli.train import train

Hvdtrain = Callable[..., subprocess.CompletedProcess[str]]

TABLE = """\
name: table
task: {name: binary_classification}
model: {name: mlp, hidden_dims: [8]}
data: {name: csv, paths: [train.csv], val_paths: [val.csv], test_paths: [test.csv], target: kind}
optimizer: {name: adamw, lr: 2e-2}
train:
  {global_batch_size: 20, micro_batch_size: 10, max_steps: 30, eval_interval: 10, threads_per_worker: 1, plots: false}
"""
TEXTS = """\
name: texts
task: {name: classification}
model: {name: bilstm, d_model: 8, hidden_dim: 8, dropout: 0}
data: {name: csv, paths: [texts.csv], delimiter: ";", inputs: review, target: kind, max_seq_len: 16}
tokenizer: {name: bytes}
optimizer: {name: adamw, lr: 2e-2}
train:
  {global_batch_size: 20, micro_batch_size: 10, max_steps: 20, eval_interval: 10, threads_per_worker: 1, plots: false}
"""


def write(path: Path, header: list[str], rows: list[list[object]], delimiter: str = ",") -> None:
    with path.open("w", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows([header, *rows])


def rows(count: int, seed: int) -> list[list[object]]:
    """Two numbers, and whether their sum is above 0, wrong for every tenth."""
    source = random.Random(seed)
    pairs = [(round(source.gauss(0, 1), 3), round(source.gauss(0, 1), 3)) for _ in range(count)]
    return [[a, b, "high" if (a + b > 0) != (i % 10 == 0) else "low"] for i, (a, b) in enumerate(pairs)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two recipes, their data, and their runs."""
    folder = tmp_path_factory.mktemp("own")
    for seed, (name, count) in enumerate({"train": 200, "val": 40, "test": 50}.items()):
        write(folder / f"{name}.csv", ["a", "b", "kind"], rows(count, seed))
    texts = [[f"{word} {number}", word[0]] for number in range(30) for word in ("good", "bad")]
    write(folder / "texts.csv", ["review", "kind"], texts, delimiter=";")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, recipe in (("table", TABLE), ("texts", TEXTS)):
            (folder / f"{name}.yaml").write_text(recipe)
            train(f"{name}.yaml", plain=True)
    return folder


@pytest.fixture
def hvdtrain(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Hvdtrain:
    """Return a function that runs the command line in that folder, in this process."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(os, "_exit", sys.exit)  # what a failure ends with

    def run(*arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
        monkeypatch.setattr(sys, "argv", ["hvdtrain", *arguments])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given.encode())))
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, ended.value.code or 0, told.out, told.err)

    return run


def predicted(finished: subprocess.CompletedProcess[str]) -> list[dict]:
    assert finished.returncode == 0, finished.stderr
    return [json.loads(line) for line in finished.stdout.splitlines()]


def test_the_accuracy_is_that_of_the_predictions(hvdtrain: Hvdtrain, folder: Path) -> None:
    found = json.loads(hvdtrain("evaluate", "runs/table", "--json").stdout)
    with (folder / "test.csv").open(newline="") as file:
        truth = [row["kind"] for row in csv.DictReader(file)]
    answers = [row["class"] for row in predicted(hvdtrain("predict", "runs/table", "test.csv"))]
    right = sum(answer == kind for answer, kind in zip(answers, truth, strict=True))
    assert (found["part"], found["samples"]) == ("test", 50)
    assert found["metrics"]["accuracy"] == right / 50
    assert right > 40, "a model that learnt nothing shows nothing"
    most = max(truth.count("high"), truth.count("low")) / 50
    assert found["references"]["accuracy"]["always the most frequent class"] in (most, 1 - most)


def test_the_best_checkpoint_is_measured_unless_the_newest_is_asked_for(hvdtrain: Hvdtrain, folder: Path) -> None:
    best = json.loads((folder / "runs/table/checkpoints/best.json").read_text())
    steps = [
        json.loads(hvdtrain("evaluate", "runs/table", "--json", *which).stdout)["step"]
        for which in ([], ["--which", "newest"])
    ]
    assert steps == [best["step"], 30]


def test_a_person_reads_metrics_and_marks(hvdtrain: Hvdtrain) -> None:
    shown = hvdtrain("evaluate", "runs/table", "--part", "val", "--samples", "7").stdout.splitlines()
    assert shown[0].startswith("table at step ")
    assert "7 samples of part val" in shown[0]
    assert any(line.split()[0] == "accuracy" for line in shown[1:])
    assert any("always the most frequent class" in line for line in shown)


def test_a_whole_file_of_predictions_or_none(hvdtrain: Hvdtrain, folder: Path) -> None:
    write(folder / "bad.csv", ["a", "b"], [[1, 2], [3, "four"]])
    finished = hvdtrain("predict", "runs/table", "bad.csv", "--output", "found.jsonl", "--batch-size", "1")
    assert finished.returncode == 2
    assert "bad.csv:3: b is 'four'; expected a finite number" in finished.stderr
    assert not list(folder.glob("*found.jsonl*"))
    assert hvdtrain("predict", "runs/table", "test.csv", "--output", "found.jsonl").returncode == 0
    first = json.loads((folder / "found.jsonl").read_text().splitlines()[0])
    assert first.keys() == {"file", "line", "class", "probability"}
    assert (first["file"], first["line"]) == ("test.csv", 2)


def test_texts_come_from_the_command_line_a_file_or_standard_input(hvdtrain: Hvdtrain) -> None:
    shown = hvdtrain("predict", "runs/texts", "--text", "good 77", "--text", "bad 77").stdout.splitlines()
    assert shown[0] == "good 77"
    assert shown[1].split()[0] == "g"
    assert shown[3].split()[0] == "b"
    piped = predicted(hvdtrain("predict", "runs/texts", "-", given="bad 1\ngood 2\n"))
    assert [(row["line"], row["input"], row["class"]) for row in piped] == [(1, "bad 1", "b"), (2, "good 2", "g")]
    assert sum(piped[0]["probabilities"].values()) == pytest.approx(1)
    read = predicted(hvdtrain("predict", "runs/texts", "texts.csv"))
    assert [row["class"] for row in read[:2]] == ["g", "b"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate", "runs/nowhere"], "runs/nowhere"),
        (["evaluate", "runs/texts", "--part", "test", "task.nonsense=1"], "task.nonsense"),
        (["evaluate", "runs/table", "data.val_fraction=0.3", "seed=7"], "the data is not what runs/table/checkpoints"),
        (
            ["train", "table.yaml", "data.val_paths=null", "data.val_fraction=0.0", "train.early_stopping.patience=1"],
            "train.early_stopping: validation is on the test part",
        ),
        (["predict", "runs/table"], "nothing to predict: give files, or --text TEXT, or - for standard input"),
        (["predict", "runs/table", "--text", "x"], "this model reads table, not texts: give it files"),
        (["predict", "runs/table", "missing.csv"], "missing.csv does not exist"),
        (
            ["predict", "runs/texts", "texts.csv", "--column", "body"],
            "texts.csv has no column 'body' (it has review, kind)",
        ),
    ],
)
def test_a_mistake_is_one_message_and_exit_code_2(hvdtrain: Hvdtrain, arguments: list[str], message: str) -> None:
    finished = hvdtrain(*arguments)
    assert finished.returncode == 2
    assert message in " ".join(finished.stderr.split())
    assert "Traceback" not in finished.stderr
