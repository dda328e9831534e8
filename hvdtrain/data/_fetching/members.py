"""Reading members of archives (tar, zip, Debian package) without trusting their names: nothing is extracted to disk."""

from __future__ import annotations

import io
import lzma
import re
import subprocess
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from hvdtrain.errors import DataError

LARGEST_MEMBER = 1 << 28
AR_MAGIC = b"!<arch>\n"
AR_HEADER = 60
BROKEN = (tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error, EOFError, OSError, ValueError)
# zipfile raises the last two for encrypted members and for methods of compression that it does not know
BROKEN_ZIP = (*BROKEN, RuntimeError, NotImplementedError)


@dataclass(frozen=True)
class Member:
    """One entry of an archive: `file` is None where it is no plain file (a link, a device, a folder)."""

    name: str
    size: int
    file: IO[bytes] | None


def read_members(archive: Path, pattern: re.Pattern[str]) -> dict[str, bytes]:
    """Return the content of those files of an archive whose whole name matches, by the last part of their name.

    The archive is a tar, a zip or wheel, or a Debian package, whose names begin with `usr/`.

    Raises:
        DataError: the archive is damaged, has no such member, or has an unsafe one: a path that is absolute or climbs,
            or, among the wanted ones, a link, a device, a second of one name, or a file larger than 256 MiB.
    """
    contents: dict[str, bytes] = {}
    try:
        for member in _members(archive):
            path = PurePosixPath(member.name)
            if path.is_absolute() or ".." in path.parts:
                raise DataError(f"{archive} is unsafe: its member '{member.name}' points outside")
            if not pattern.fullmatch(str(path)):
                continue
            if member.file is None or member.size > LARGEST_MEMBER or path.name in contents:
                raise DataError(
                    f"{archive} is unsafe: its member '{member.name}' is no plain file, or huge, or there twice"
                )
            contents[path.name] = member.file.read()
    except BROKEN_ZIP as error:
        raise DataError(f"{archive} is damaged: {error}") from error
    if not contents:
        raise DataError(f"{archive} holds no member like {pattern.pattern}")
    return contents


def _members(archive: Path) -> Iterator[Member]:
    with archive.open("rb") as file:
        magic = file.read(len(AR_MAGIC))
    if magic == AR_MAGIC:
        with _package_contents(archive) as tar:
            yield from _tar_members(tar)
    elif magic.startswith(b"PK"):
        with zipfile.ZipFile(archive) as whole:
            for info in whole.infolist():
                kind = info.external_attr >> 28  # of a Unix mode; 0 where none was written, 8 for a regular file
                plain = not info.is_dir() and kind in (0, 8)
                yield Member(info.filename, info.file_size, whole.open(info) if plain else None)
    else:
        with tarfile.open(archive) as tar:
            yield from _tar_members(tar)


def _tar_members(tar: tarfile.TarFile) -> Iterator[Member]:
    for member in tar:
        yield Member(member.name, member.size, tar.extractfile(member) if member.isreg() else None)


@contextmanager
def _package_contents(archive: Path) -> Iterator[tarfile.TarFile]:
    """Open the files of a Debian package (deb(5)): an ar archive whose third member is `data.tar`, compressed."""
    with archive.open("rb") as package:
        name, data = _ar_member(package, "data.tar")
    if name.endswith(".zst"):
        data = _by_dpkg(archive)  # Python reads zstandard from 3.14 only; a system with such packages has dpkg-deb
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        yield tar


def _ar_member(package: IO[bytes], prefix: str) -> tuple[str, bytes]:
    package.seek(len(AR_MAGIC))
    while header := package.read(AR_HEADER):
        if len(header) < AR_HEADER or header[58:] != b"`\n":
            raise ValueError("a header of the package is broken")
        name, size = header[:16].decode("ascii").rstrip().rstrip("/"), int(header[48:58])
        if name.startswith(prefix):
            if not 0 <= size <= LARGEST_MEMBER or len(data := package.read(size)) != size:
                raise ValueError(f"its member {name} is cut off, or huge")
            return name, data
        package.seek(size + size % 2, io.SEEK_CUR)
    raise ValueError(f"it has no member {prefix}")


def _by_dpkg(archive: Path) -> bytes:
    try:
        shown = subprocess.run(["dpkg-deb", "--fsys-tarfile", str(archive)], capture_output=True)
    except FileNotFoundError as error:
        raise DataError(
            f"{archive} is compressed by zstandard, which is read with dpkg-deb: it is not installed"
        ) from error
    if shown.returncode:
        raise ValueError(shown.stderr.decode(errors="replace").strip())
    return shown.stdout
