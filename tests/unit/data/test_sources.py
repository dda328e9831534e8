"""Sources: what paths mean, what is wrong with them, and the real Shakespeare where it was fetched."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from hvdtrain.data import cache
from hvdtrain.data.partitions import random
from hvdtrain.data.sources import shakespeare, text
from hvdtrain.errors import DataError

REAL = cache.root()
"""The user's own cache: read here, before the tests get one of their own."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("b.txt", "a.txt", "deep/c.txt", "deep/d.md", ".hidden.txt", ".git/e.txt", "odd[1].txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def found(*paths: str) -> list[str]:
    return [document.name for document in text.documents(text.Config(paths=list(paths)))]


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["a.txt"], ["a.txt"]),
        (["b.txt", "a.txt"], ["b.txt", "a.txt"]),
        (["b.txt", "./b.txt", "*.txt"], ["b.txt", "a.txt", "odd[1].txt"]),
        (["deep"], ["deep/c.txt"]),
        (["."], ["a.txt", "b.txt", "deep/c.txt", "odd[1].txt"]),
        (["deep/*.md"], ["deep/d.md"]),
        (["**/*.md"], ["deep/d.md"]),
        (["odd[1].txt"], ["odd[1].txt"]),
        (["~/a.txt"], ["HOME/a.txt"]),
    ],
)
def test_paths_stand_for_files(
    paths: list[str], expected: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(folder))
    assert found(*paths) == [name.replace("HOME", str(folder)) for name in expected]


def test_a_link_that_runs_in_a_circle_does_not_hang(folder: Path) -> None:
    (folder / "deep" / "up").symlink_to(folder)
    assert found(".") == ["a.txt", "b.txt", "deep/c.txt", "odd[1].txt"]


def test_absolute_globs_work(folder: Path) -> None:
    assert found(f"{folder}/deep/*") == [f"{folder}/deep/c.txt", f"{folder}/deep/d.md"]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("c.txt", r"data.paths: c.txt does not exist; did you mean 'b.txt'\? \(relative paths start at "),
        ("none/x.txt", "none/x.txt does not exist "),
        ("*.csv", r"no file matches \*.csv"),
        ("empty", "the directory empty holds no .txt file; use a glob"),
        ("pipe", "pipe is not a regular file"),
        ("nul\0byte", "does not exist"),
    ],
)
def test_a_path_without_files_is_explained(path: str, message: str, folder: Path) -> None:
    (folder / "empty").mkdir()
    os.mkfifo(folder / "pipe")
    with pytest.raises(DataError, match=message):
        found(path)


@pytest.mark.parametrize(
    ("values", "place"),
    [
        ({}, ("paths",)),
        ({"paths": []}, ("paths",)),
        ({"paths": [""]}, ("paths", 0)),
        ({"paths": ["a"], "max_seq_len": 0}, ("max_seq_len",)),
        ({"paths": ["a"], "val_fraction": 0}, ("val_fraction",)),
        ({"paths": ["a"], "val_fraction": 0.6}, ("val_fraction",)),
        ({"paths": ["a"], "encoding": "utf-9"}, ("encoding",)),
        ({"paths": ["a"], "encoding": "hex"}, ("encoding",)),
        ({"paths": ["a"], "encodin": "utf-8"}, ("encodin",)),
        ({"paths": ["a"], "partition": {"name": "rando"}}, ("partition",)),
        ({"paths": ["a"], "partition": "random"}, ("partition",)),
        ({"paths": ["a"], "partition": {"name": "random", "x": 1}}, ("partition", "x")),
    ],
)
def test_a_bad_config_is_refused_at_its_key(values: dict[str, object], place: tuple[object, ...]) -> None:
    with pytest.raises(ValidationError) as caught:
        text.Config.model_validate(values)
    assert [error["loc"] for error in caught.value.errors()] == [place]


def test_a_partition_is_a_config_that_comes_back_from_its_dump() -> None:
    config = text.Config.model_validate({"paths": ["a"], "partition": {"name": "random"}})
    assert config.partition == random.Config()
    assert text.Config.model_validate(config.model_dump()) == config
    assert text.Config.model_validate_json(config.model_dump_json()) == config
    assert config.model_dump()["partition"] == {"name": "random"}


def test_the_schema_lists_the_partitions() -> None:
    schema = text.Config.model_json_schema()
    names = [option["properties"]["name"]["const"] for option in schema["properties"]["partition"]["oneOf"]]
    assert "random" in names


def test_encodings_have_one_spelling() -> None:
    assert text.Config(paths=["a"], encoding="UTF8").encoding == "utf-8"


def test_missing_shakespeare_names_the_command(empty_cache: Path) -> None:
    with pytest.raises(DataError, match=r"'shakespeare' are missing .*hvdtrain data fetch shakespeare"):
        shakespeare.documents(shakespeare.Config())


def test_damaged_shakespeare_names_the_command(empty_cache: Path) -> None:
    shakespeare.DOWNLOAD.entry.mkdir(parents=True)
    with pytest.raises(DataError, match=r"'shakespeare' are damaged .*hvdtrain data fetch shakespeare"):
        shakespeare.documents(shakespeare.Config())


def test_the_real_works_are_42_and_free_of_boilerplate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HVDTRAIN_CACHE", str(REAL))
    if cache.read(shakespeare.DOWNLOAD.entry) is None:
        pytest.skip("Shakespeare is not in the user's cache: hvdtrain data fetch shakespeare")
    documents = shakespeare.documents(shakespeare.Config())
    works = {document.name: "".join(document.chunks()) for document in documents}
    assert len(works) == 42
    assert sum(map(len, works.values())) == 5_057_198
    for work in works.values():
        title, _, after = work.partition("by William Shakespeare\n")
        assert 5 < len(title) < 60
        assert after.strip()
        assert not any(word in work.lower() for word in ("gutenberg", "copyright", "http"))
    assert works["hamlet"].startswith("HAMLET, PRINCE OF DENMARK\n")
    assert works["hamlet"].endswith("ordnance is shot off.]")
