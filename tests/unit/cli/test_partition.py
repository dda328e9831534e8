"""`hvdtrain data partition`: its counts are those that workers get, and a broken partition is told."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from hvdtrain.cli.data import app
from hvdtrain.data.census import Census
from hvdtrain.data.loader import make_loader
from hvdtrain.data.partitions.random import RandomOrder
from hvdtrain.data.prepare import prepare
from hvdtrain.errors import DataError, RecipeError, RunError
from hvdtrain.recipe import load


def recipe(folder: Path, data: str, task: str = "binary_classification") -> Path:
    path = folder / "recipe.yaml"
    path.write_text(
        f"name: small\ntask: {{name: {task}}}\nmodel: {{name: mlp, hidden_dims: [4]}}\ndata: {data}\n"
        "optimizer: {name: sgd, lr: 0.1}\nsync: {name: allreduce}\n"
        "train: {global_batch_size: 12, micro_batch_size: 1, max_steps: 2}\n"
    )
    return path


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    """403 training samples of two classes."""
    return recipe(tmp_path, "{name: teacher, samples: 560, test_fraction: 0.2, val_fraction: 0.1}")


def run(*arguments: str | Path, columns: int = 80) -> Result:
    return CliRunner(env={"COLUMNS": str(columns)}).invoke(app, ["partition", *map(str, arguments)])


def shown(*arguments: str | Path, columns: int = 80) -> str:
    result = run(*arguments, columns=columns)
    assert result.exit_code == 0, result.exception
    return result.stdout


def values(*arguments: str | Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(shown(*arguments, "--json"))
    return found


@pytest.mark.parametrize(
    "partition",
    ["{name: random}", "{name: stratified}", "{name: contiguous}", "{name: contiguous, parts: 6}", "{name: dirichlet}"],
)
def test_the_counts_are_those_of_the_samples_that_workers_load(teacher: Path, partition: str) -> None:
    found = values(teacher, "-np", "3", f"data.partition={partition}")
    asked = load(teacher, [f"data.partition={partition}"]).recipe
    data = prepare(asked.data, None, asked.seed, "examples").train
    expected = np.zeros((2, 3), dtype=np.int64)
    for rank in range(3):
        loader = make_loader(
            data,
            asked.data.partition,
            seed=asked.seed,
            global_batch_size=12,
            micro_batch_size=1,
            rank=rank,
            size=3,
            epochs=1,
        )
        for _ in loader:
            np.add.at(expected[:, rank], data.labels[loader.sample_ids], 1)
    assert found["counts"] == expected.tolist()
    assert found["names"] == ["below", "above"]
    assert found["samples"] == len(data) == sum(found["samples_by_worker"]) == expected.sum()
    assert found["exactly_once"] is True
    own, whole = expected / expected.sum(0), expected.sum(1) / expected.sum()
    assert found["total_variation_distance"] == pytest.approx(np.abs(own - whole[:, None]).sum(0) / 2)


def test_the_text_has_the_counts_and_says_that_nothing_is_lost(teacher: Path) -> None:
    changes = (teacher, "-np", "2", "data.partition={name: contiguous}")
    text, found = shown(*changes), values(*changes)
    for name, counts in zip(found["names"], found["counts"], strict=True):
        assert re.search(rf"^{name} +{counts[0]} +{counts[1]} +{sum(counts)} +\d+\.\d %$", text, re.MULTILINE)
    assert f"every one of {found['samples']} samples is in exactly one part" in text
    worst = int(np.argmax(found["total_variation_distance"]))
    assert f"worker {worst} is the farthest from the whole: {max(found['total_variation_distance']):.3f}" in text
    assert "data.partition.parts=2" in text


@pytest.mark.parametrize("columns", [30, 80])
def test_many_workers_fit_into_a_narrow_terminal(teacher: Path, columns: int) -> None:
    text = shown(teacher, "-np", "10", columns=columns)
    assert max(map(len, text.splitlines())) <= columns
    counts = values(teacher, "-np", "10")["counts"]
    for rank in range(10):
        assert re.search(rf"worker {rank}\b", text)
    if columns == 80:  # workers are rows, as they are more than the classes
        assert re.search(rf"^worker 9 +{counts[0][9]} +{counts[1][9]} ", text, re.MULTILINE)


def table_files(folder: Path, sizes: list[int]) -> str:
    for number, size in enumerate(sizes):
        rows = "".join(f"{i},{i * i % 7}\n" for i in range(size))
        (folder / f"{number}.csv").write_text(f"x,y\n{rows}")
    paths = ", ".join(str(folder / f"{number}.csv") for number in range(len(sizes)))
    return f"{{name: csv, paths: [{paths}], target: y, target_kind: number, val_fraction: 0.1, test_fraction: 0}}"


def test_files_are_counted_where_there_are_no_classes_and_waiting_is_told(tmp_path: Path) -> None:
    path = recipe(tmp_path, table_files(tmp_path, [60, 30, 40]), "regression")
    found = values(path, "-np", "2", "data.partition={name: shard}")
    assert found["counted_by"] == "shard"
    counts = np.array(found["counts"])
    assert ((counts > 0).sum(1) == 1).all(), "each file is one worker's"
    assert found["total_variation_distance"] is None
    text = shown(path, "-np", "2", "data.partition={name: shard}")
    assert "distance" not in text
    assert re.search(rf"^shard 0 +{counts[0][0]} +{counts[0][1]} ", text, re.MULTILINE)
    waiting = 1 - counts.sum() / (2 * counts.sum(0).max())
    assert f"{round(100 * waiting)} % of the places in the global batches stay empty" in " ".join(text.split())


def test_very_many_files_are_folded(tmp_path: Path) -> None:
    path = recipe(tmp_path, table_files(tmp_path, [5] * 50), "regression")
    text = shown(path, "-np", "2")
    counts = np.array(values(path, "-np", "2")["counts"])
    assert len(counts) == 50
    found = re.findall(r"^(?:shard \d+|11 others) +(\d+) +(\d+) ", text, re.MULTILINE)
    assert len(found) == 40
    assert np.array(found, dtype=int).sum(0).tolist() == counts.sum(0).tolist()


def test_running_text_is_counted_by_document(small_recipe: Path) -> None:
    for partition in ("random", "shard"):
        found = values(small_recipe, "-np", "2", f"data.partition.name={partition}")
        assert found["counted_by"] == "shard"
        counts = np.array(found["counts"])
        assert len(counts) == 8, "the end of the largest document is for validation"
        assert ((counts > 0).sum(1) == 1).all() == (partition == "shard"), "whole documents"


def test_text_of_one_document_has_neither_classes_nor_shards(small_recipe: Path, corpus: Path) -> None:
    changes = (small_recipe, f"data.paths=[{corpus / '0.txt'}]", "-np", "3")
    text, found = shown(*changes), values(*changes)
    assert found["counted_by"] is None
    for rank, count in enumerate(found["samples_by_worker"]):
        assert re.search(rf"^worker {rank} +{count:,} +3\d\.\d %$", text, re.MULTILINE)
    assert "farthest" not in text


def test_files_that_are_dealt_are_counted_even_where_there_are_classes(tmp_path: Path) -> None:
    path = recipe(tmp_path, table_files(tmp_path, [60, 30, 40]).replace("number,", "class,"), "classification")
    assert values(path, "-np", "2")["counted_by"] == "class"
    found = values(path, "-np", "2", "data.partition={name: shard}")
    assert found["counted_by"] == "shard"
    assert ((np.array(found["counts"]) > 0).sum(1) == 1).all()


def test_whether_parts_depend_on_the_workers_is_told(teacher: Path) -> None:
    for partition, depends in {
        "{name: random}": False,
        "{name: contiguous}": True,
        "{name: contiguous, parts: 4}": False,
    }.items():
        change = f"data.partition={partition}"
        assert values(teacher, "-np", "2", change)["depends_on_workers"] is depends
        assert ("depend on the number of workers" in " ".join(shown(teacher, "-np", "2", change).split())) is depends


def test_one_process_needs_the_batch_too_where_it_grows_with_the_workers(teacher: Path) -> None:
    changes = (teacher, "-np", "3", "data.partition={name: contiguous}")
    fixed = " ".join(shown(*changes, columns=500).split())
    assert "with data.partition.parts=3." in fixed
    grows = " ".join(shown(*changes, "train.global_batch_size=null", "train.micro_batch_size=4", columns=500).split())
    assert "with data.partition.parts=3 and train.global_batch_size=12." in grows


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_lost_and_repeated_samples_are_an_error(
    teacher: Path, monkeypatch: pytest.MonkeyPatch, form: list[str]
) -> None:
    whole = RandomOrder.order

    def broken(self: RandomOrder, epoch: int) -> np.ndarray:
        order = whole(self, epoch)
        order[order == 7] = 5
        return order

    monkeypatch.setattr(RandomOrder, "order", broken)
    result = run(teacher, *form)
    assert isinstance(result.exception, RunError)
    assert result.exception.exit_code == 1
    assert "samples are in no part (the first: sample 7) and 1 are dealt more than once (the first: sample 5)" in str(
        result.exception
    )
    assert "exactly one part" not in result.stdout
    if form:
        assert json.loads(result.stdout)["exactly_once"] is False
        assert json.loads(result.stdout)["missing"] == [7]


def test_what_can_not_be_partitioned_is_refused(teacher: Path) -> None:
    result = run("ppo-cartpole")
    assert isinstance(result.exception, RecipeError)
    assert "steps environments of its own" in str(result.exception)
    for changes, message in {
        "data.partition={name: shard}": "which file",
        "data.partition={name: contiguous, parts: 3}": "2 workers can't have equally many",
    }.items():
        result = run(teacher, changes)
        assert isinstance(result.exception, RecipeError | DataError)
        assert message in str(result.exception)
    assert run(teacher, "-np", "0").exit_code == 2


def test_the_distance_is_the_total_variation_and_a_worker_without_samples_has_none() -> None:
    """By hand: shares 3/4 and 1/4, and 0 and 1, of a whole with 1/2 and 1/2."""
    counts = np.array([[3, 0, 0], [1, 2, 0]])
    none = np.empty(0, dtype=np.int64)
    census = Census("class", ("a", "b"), counts, None, None, 6, none, none)
    assert census.distances()[:2].tolist() == [0.25, 0.5]
    assert np.isnan(census.distances()[2])
