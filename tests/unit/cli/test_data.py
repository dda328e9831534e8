"""`hvdtrain data`: what it prints, and that it stays light."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hvdtrain.cli.data import app
from hvdtrain.data import cache
from hvdtrain.data._download import Download
from hvdtrain.data.fetch import fetchable
from hvdtrain.data.sources import shakespeare
from hvdtrain.errors import DataError, RecipeError, UserError
from hvdtrain.registry import find


@pytest.fixture(autouse=True)
def own_cache_of_a_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HVDTRAIN_CACHE", str(tmp_path))


def test_the_list_names_every_source_and_how_to_get_it() -> None:
    result = CliRunner().invoke(app, ["list"])
    assert result.exit_code == 0
    for name, state in {"shakespeare": "not fetched", "text": "no download", "teacher": "no download"}.items():
        assert re.search(rf"^{name} +{state} ", result.output, re.MULTILINE), name
    assert "\nGet one with: hvdtrain data fetch " in result.output


def test_fetch_prints_the_folder_at_once_where_it_is_there() -> None:
    cache.ensure(shakespeare.DOWNLOAD.entry, lambda folder: {})
    result = CliRunner().invoke(app, ["fetch", "shakespeare"])
    assert result.exit_code == 0
    assert result.output == f"shakespeare: {shakespeare.DOWNLOAD.entry}\n"
    shown = CliRunner().invoke(app, ["list"]).output
    assert re.search(r"^shakespeare +fetched ", shown, re.MULTILINE)
    assert re.search(r"^digits +not fetched ", shown, re.MULTILINE)


def test_fetching_an_unknown_name_is_a_data_error() -> None:
    result = CliRunner().invoke(app, ["fetch", "shakespear"])
    assert isinstance(result.exception, DataError)
    assert "did you mean 'shakespeare'?" in str(result.exception)


def have(*names: str) -> dict[str, Path]:
    """Pretend that data sets were fetched, and return their folders."""
    folders = {name: find("data", name).DOWNLOAD.entry for name in names}
    for folder in folders.values():
        cache.ensure(folder, lambda folder: {})
    return folders


def test_several_are_fetched_each_once_and_one_failure_keeps_no_other_from_coming() -> None:
    folders = have("digits", "dna_splice")
    result = CliRunner().invoke(app, ["fetch", "nothing", "digits", "dna-splice", "dna_splice", "text"])
    assert result.output == "".join(f"{name}: {folder}\n" for name, folder in folders.items())
    assert isinstance(result.exception, DataError)
    first, second = str(result.exception).splitlines()
    assert first.startswith("no data set 'nothing' to fetch (known: ")
    assert second.startswith("data 'text' needs no fetching")


def test_all_are_all_that_can_be_fetched() -> None:
    folders = have(*fetchable())
    result = CliRunner().invoke(app, ["fetch", "--all"])
    assert result.exit_code == 0
    assert result.output == "".join(f"{name}: {folder}\n" for name, folder in folders.items())
    assert {"shakespeare", "digits", "sp500"} <= folders.keys()
    assert not {"text", "teacher"} & folders.keys()


def test_what_a_recipe_needs_is_fetched(small_recipe: Path) -> None:
    folders = have("shakespeare")
    result = CliRunner().invoke(app, ["fetch", "--for", "gpt-shakespeare", "--for", str(small_recipe)])
    assert result.exit_code == 0
    told = f"{small_recipe}: data 'text' needs no fetching\nshakespeare: {folders['shakespeare']}\n"
    assert result.output == told


def test_a_recipe_that_is_wrong_is_told_as_everywhere(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["fetch", "--for", str(tmp_path / "none.yaml")])
    assert isinstance(result.exception, RecipeError)


def test_nothing_to_fetch_is_an_error() -> None:
    result = CliRunner().invoke(app, ["fetch"])
    assert isinstance(result.exception, UserError)
    assert "name data sets" in str(result.exception)


def test_without_a_terminal_progress_is_plain_lines_beside_the_output(monkeypatch: pytest.MonkeyPatch) -> None:
    def get(self: Download, on_progress: Callable[[str], None]) -> Path:
        on_progress("downloading [red]x[/red]")
        return Path("/there")

    monkeypatch.setattr(Download, "get", get)
    result = CliRunner().invoke(app, ["fetch", "digits"])
    assert result.stderr == "downloading [red]x[/red]\n"
    assert result.stdout == "digits: /there\n"


def test_listing_and_configs_need_neither_torch_nor_numpy() -> None:
    code = """
import sys
from hvdtrain.data.fetch import listing
from hvdtrain.registry import config_class, names
listing()
for kind in ("data", "partitions", "tokenizers"):
    for name in names(kind):
        config_class(kind, name)
print([name for name in ("torch", "numpy", "tokenizers", "horovod") if name in sys.modules])
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"
