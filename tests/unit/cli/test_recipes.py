from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hvdtrain.cli.recipes import app
from hvdtrain.errors import RecipeError
from hvdtrain.recipe import load, shipped


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_list_has_a_line_for_each_recipe() -> None:
    lines = run("list").splitlines()
    assert [line.split()[0] for line in lines] == list(shipped())
    assert "Shakespeare" in next(line for line in lines if line.startswith("gpt-shakespeare"))


def test_show_prints_the_file() -> None:
    assert run("show", "gpt-shakespeare").strip() == shipped()["gpt-shakespeare"].read_text().strip()


def test_show_resolved_is_the_whole_recipe(tmp_path: Path) -> None:
    path = tmp_path / "resolved.yaml"
    path.write_text(run("show", "gpt-shakespeare", "--resolved", "seed=7"))
    assert "extends" not in path.read_text()
    assert load(path).recipe == load("gpt-shakespeare", ["seed=7"]).recipe


def test_show_does_not_leave_overrides_unsaid() -> None:
    with pytest.raises(RecipeError, match="--resolved"):
        run("show", "gpt-shakespeare", "seed=7")


def test_a_copy_is_valid_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "directory").mkdir()
    for target, copy in (
        ((), "gpt-shakespeare.yaml"),
        (("my.yaml",), "my.yaml"),
        (("directory",), "directory/gpt-shakespeare.yaml"),
    ):
        assert copy in run("copy", "gpt-shakespeare", *target)
        assert (tmp_path / copy).read_bytes() == shipped()["gpt-shakespeare"].read_bytes()
        assert load(copy).recipe == load(shipped()["gpt-shakespeare"]).recipe


def test_a_copy_replaces_nothing_unasked(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("precious\n")
    with pytest.raises(RecipeError, match=r"is there already.*--force"):
        run("copy", "base/lm", str(path))
    assert path.read_text() == "precious\n"
    run("copy", "base/lm", str(path), "--force")
    assert load(path).recipe.name == "lm"


def test_a_copy_onto_itself_leaves_the_file_whole(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    run("copy", "base/lm", str(path))
    run("copy", str(path), str(path), "--force")
    assert load(path).recipe.name == "lm"


def test_a_copy_without_a_place_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="there is no directory"):
        run("copy", "base/lm", str(tmp_path / "missing" / "x.yaml"))
    with pytest.raises(RecipeError, match="did you mean 'base/lm'"):
        run("copy", "base/lmm", str(tmp_path))


def test_schema_is_json() -> None:
    assert json.loads(run("schema"))["properties"]["extends"]["type"] == "string"
