"""Reading archives without trusting them: nothing that a hostile one says reaches the file system."""

from __future__ import annotations

import io
import lzma
import re
import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from hvdtrain.data._download import read_members
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
    monkeypatch.setattr("hvdtrain.data._fetching.members.LARGEST_MEMBER", 5)
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


def zipped(path: Path, *members: tuple[str, bytes], mode: int = 0o100644) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as whole:
        for name, content in members:
            info = zipfile.ZipInfo(name)
            info.external_attr, info.compress_type = mode << 16, zipfile.ZIP_DEFLATED
            whole.writestr(info, content)
    return path


WHEEL = [("corpus-1.0/texts/a.txt", b"first"), ("corpus-1.0/texts/b.txt", b"second"), ("corpus-1.0/setup.py", b"x")]


def test_a_wheel_is_read_as_a_tar_is(tmp_path: Path) -> None:
    assert read_members(zipped(tmp_path / "a.whl", *WHEEL), MEMBER) == {"a.txt": b"first", "b.txt": b"second"}


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("../evil.txt", 0o100644),
        ("/tmp/evil.txt", 0o100644),
        ("corpus-1.0/texts/c.txt", 0o120777),
        ("corpus-1.0/other/../texts/c.txt", 0o100644),
    ],
    ids=["climbs", "absolute", "symlink", "climbs within"],
)
def test_hostile_members_of_a_wheel_are_refused(name: str, mode: int, tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.whl", *WHEEL[1:], (name, b"text"), mode=mode)
    with pytest.raises(DataError, match="is unsafe: its member"):
        read_members(path, MEMBER)


def test_a_wheel_that_lies_about_a_size_is_damaged(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.whl", ("corpus-1.0/texts/a.txt", b"0" * 100_000))
    content = path.read_bytes()
    path.write_bytes(content.replace((100_000).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    with pytest.raises(DataError, match=r"a\.whl is damaged"):
        read_members(path, MEMBER)
    path.write_bytes(content[:-40])
    with pytest.raises(DataError, match=r"a\.whl is damaged"):
        read_members(path, MEMBER)


def package(path: Path, *members: tuple[tarfile.TarInfo, bytes], compression: str = "xz") -> Path:
    """Write a Debian package as deb(5) describes it."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode=f"w:{compression}") as tar:
        for member, content in members:
            tar.addfile(member, io.BytesIO(content))
    parts = [("debian-binary", b"2.0\n"), ("control.tar.xz", b"odd"), (f"data.tar.{compression}", data.getvalue())]
    with path.open("wb") as file:
        file.write(b"!<arch>\n")
        for name, content in parts:
            file.write(f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode())
            file.write(content + b"\n" * (len(content) % 2))
    return path


@pytest.mark.parametrize("compression", ["xz", "gz", "bz2"])
def test_a_debian_package_is_read_as_a_tar_is(compression: str, tmp_path: Path) -> None:
    dotted = [regular("./corpus-1.0/texts/a.txt", b"first"), regular("./corpus-1.0/texts/b.txt", b"second")]
    path = package(tmp_path / "a.deb", *dotted, compression=compression)
    assert read_members(path, MEMBER) == {"a.txt": b"first", "b.txt": b"second"}


@pytest.mark.parametrize("compression", ["xz", "zstd", "gzip"])
def test_packages_that_dpkg_builds_are_read(compression: str, tmp_path: Path) -> None:
    if shutil.which("dpkg-deb") is None:
        pytest.skip("dpkg-deb is not installed")
    tree = tmp_path / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN" / "control").write_text(
        "Package: corpus\nVersion: 1.0\nArchitecture: all\nMaintainer: Nobody <no@example.org>\nDescription: texts\n"
    )
    (tree / "corpus-1.0" / "texts").mkdir(parents=True)
    (tree / "corpus-1.0" / "texts" / "a.txt").write_bytes(b"first")
    path = tmp_path / "a.deb"
    built = subprocess.run(["dpkg-deb", f"-Z{compression}", "--build", str(tree), str(path)], capture_output=True)
    if built.returncode:
        pytest.skip(f"this dpkg-deb has no {compression}")
    assert read_members(path, MEMBER) == {"a.txt": b"first"}
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"a\.deb is damaged"):
        read_members(path, MEMBER)


def test_hostile_and_damaged_packages_are_refused(tmp_path: Path) -> None:
    link = special("./corpus-1.0/texts/c.txt", tarfile.SYMTYPE, "/etc/passwd")
    with pytest.raises(DataError, match="is unsafe: its member"):
        read_members(package(tmp_path / "a.deb", *GOOD, link), MEMBER)
    path = package(tmp_path / "b.deb", *GOOD)
    content = path.read_bytes()
    for damaged in (content[:40], content[:-30], content[:200], content.replace(b"data.tar", b"date.tar")):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"b\.deb is damaged"):
            read_members(path, MEMBER)


def test_a_package_whose_contents_are_no_tar_is_damaged(tmp_path: Path) -> None:
    path = package(tmp_path / "a.deb", *GOOD)
    content = path.read_bytes()
    start = content.index(b"\xfd7zXZ")
    path.write_bytes(
        content[:start] + lzma.compress(b"no tar")[: len(content) - start].ljust(len(content) - start, b"\0")
    )
    with pytest.raises(DataError, match=r"a\.deb is damaged"):
        read_members(path, MEMBER)
