"""`hvdtrain data`: what it prints, and that it stays light."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hvdtrain.cli.data import app
from hvdtrain.data import cache
from hvdtrain.data.sources import shakespeare
from hvdtrain.errors import DataError


@pytest.fixture(autouse=True)
def own_cache_of_a_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HVDTRAIN_CACHE", str(tmp_path))


def test_the_list_names_every_source_and_how_to_get_it() -> None:
    result = CliRunner().invoke(app, ["list"])
    assert result.exit_code == 0
    assert "shakespeare  not fetched" in result.output
    assert "text         your own files" in result.output
    assert "hvdtrain data fetch shakespeare" in result.output


def test_fetch_prints_the_folder_at_once_where_it_is_there() -> None:
    cache.ensure(shakespeare.DOWNLOAD.entry, lambda folder: {})
    result = CliRunner().invoke(app, ["fetch", "shakespeare"])
    assert result.exit_code == 0
    assert result.output == f"shakespeare: {shakespeare.DOWNLOAD.entry}\n"
    assert "shakespeare  fetched" in CliRunner().invoke(app, ["list"]).output


def test_fetching_an_unknown_name_is_a_data_error() -> None:
    result = CliRunner().invoke(app, ["fetch", "shakespear"])
    assert isinstance(result.exception, DataError)


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
