"""docs/data.md: every recipe snippet is valid, and the whole one trains."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from hvdtrain.cli.app import app
from hvdtrain.data.partitions import random as random_partition
from hvdtrain.errors import RecipeError
from hvdtrain.recipe import load
from hvdtrain.registry import config_class, names

PAGE = (Path(__file__).parents[3] / "docs" / "data.md").read_text()
SNIPPETS = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
USERS = ("text", "csv", "jsonl", "parquet", "npz", "image_folder", "tokens", "huggingface")
AROUND = """
name: snippet
task: {name: gan}
model: {name: dcgan}
optimizer: {name: adamw, lr: 1e-3}
train: {global_batch_size: 8, micro_batch_size: 8, max_steps: 3}
"""


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_every_snippet_is_valid(snippet: str, tmp_path: Path) -> None:
    path = tmp_path / "snippet.yaml"
    path.write_text(snippet if snippet.startswith("name:") else AROUND + snippet)
    assert load(str(path)).recipe.data.name in USERS


def test_every_source_of_files_has_a_snippet() -> None:
    shown = {match for snippet in SNIPPETS for match in re.findall(r"data: \{name: (\w+)", snippet)}
    assert shown == set(USERS)
    assert shown <= set(names("data"))


def test_every_field_is_in_the_table() -> None:
    table = PAGE[PAGE.index("## Fields") : PAGE.index("`hvdtrain recipes schema`")]
    for name in USERS:
        for field in config_class("data", name).model_fields:
            assert field == "name" or f"`{field}`" in table, f"{name}.{field}"


@pytest.mark.slow
def test_the_whole_recipe_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_cache: Path) -> None:
    monkeypatch.chdir(tmp_path)
    rows = np.random.default_rng(0).uniform(1, 9, (200, 2))
    lines = [f"{size},{rooms},{3 * size - 2 * rooms + 1}\n" for size, rooms in rows.tolist()]
    Path("houses.csv").write_text("size,rooms,price\n" + "".join(lines))
    (whole,) = (snippet for snippet in SNIPPETS if snippet.startswith("name:"))
    Path("houses.yaml").write_text(whole)
    result = CliRunner().invoke(app, ["train", "houses.yaml", "train.threads_per_worker=1", "train.eval_interval=100"])
    assert result.exit_code == 0, result.output
    assert "0.9" in result.output  # R2 of a plane that a line would fit


def test_a_table_with_one_bad_row_ends_a_command_with_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("houses.csv").write_text("size,rooms,price\n1,2,3\n1,two,3\n2,2,4\n")
    (whole,) = (snippet for snippet in SNIPPETS if snippet.startswith("name:"))
    Path("houses.yaml").write_text(whole)
    result = CliRunner().invoke(app, ["train", "houses.yaml"])
    assert result.exit_code != 0
    assert "houses.csv:3: rooms is 'two'; expected a finite number" in f"{result.output}{result.exception}"


def test_a_missing_tokenizer_is_asked_for_with_the_reason(tmp_path: Path) -> None:
    path = tmp_path / "snippet.yaml"
    path.write_text(AROUND + "data: {name: csv, paths: [a.csv], inputs: size, target: price}\n")
    with pytest.raises(
        Exception, match=r"csv, as inputs = size is one column of texts \(of numbers it would be \[size\]"
    ):
        load(str(path))


def test_a_task_that_says_what_targets_are_decides_it(tmp_path: Path) -> None:
    path = tmp_path / "snippet.yaml"
    (whole,) = (snippet for snippet in SNIPPETS if snippet.startswith("name:"))
    path.write_text(whole)
    assert load(str(path)).recipe.data.target_kind == "number"  # type: ignore[attr-defined]
    path.write_text(whole.replace("target: price", "target: price, target_kind: class"))
    assert load(str(path)).recipe.data.target_kind == "class"  # type: ignore[attr-defined]
    assert load(str(path)).recipe.data.partition == random_partition.Config()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            "{name: csv, paths: [a.csv], inputs: [x], target: y}",
            'data.inputs = ["x"]: must name one column of texts, as the target is a text',
        ),
        ("{name: csv, paths: [a.csv], target: y}", "data.inputs: must name one column of texts"),
        (
            "{name: npz, paths: [a.npz], target: y}",
            "data.name = npz: has no targets of the kind 'text', which task translation predicts",
        ),
    ],
)
def test_a_translation_of_what_is_no_text_is_an_error_of_the_recipe(tmp_path: Path, data: str, message: str) -> None:
    path = tmp_path / "snippet.yaml"
    around = AROUND.replace("{name: gan}", "{name: translation}").replace("{name: dcgan}", "{name: transformer}")
    path.write_text(f"{around}data: {data}\ntokenizer: {{name: bytes}}\n")
    with pytest.raises(RecipeError) as caught:
        load(str(path))
    assert message in str(caught.value)
