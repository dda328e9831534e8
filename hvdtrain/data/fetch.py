"""Which data sets can be fetched, which are there, and fetching them, once and whole."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hvdtrain.data import cache
from hvdtrain.errors import DataError, nearest
from hvdtrain.registry import find, names

if TYPE_CHECKING:
    from hvdtrain.data._download import Download, Progress


@dataclass(frozen=True)
class Listed:
    """A data source for a person to read: `fetched` is None where there is nothing to fetch; `path` is its folder."""

    name: str
    summary: str
    licence: str
    fetched: bool | None
    path: Path | None


def listing() -> list[Listed]:
    """Return every registered data source by name."""
    return [_listed(name) for name in names("data")]


def fetchable() -> list[str]:
    """Return the names of the data sets that can be fetched."""
    return [name for name in names("data") if _download(name) is not None]


def needs_fetching(name: str) -> bool:
    """Tell whether a registered data source has files to fetch, here already or not."""
    return _download(name) is not None


def fetch(name: str, on_progress: Progress | None = None) -> Path:
    """Bring a data set into the cache, unless it is there already, and return its folder.

    `name` may be written with hyphens; `on_progress` is given lines for a person to read.

    Raises:
        DataError: nothing of that name can be fetched, or the download failed; nothing half is left.
    """
    registered = name.replace("-", "_")
    if registered not in names("data"):
        known = fetchable()
        raise DataError(f"no data set '{name}' to fetch (known: {', '.join(known)}){nearest(registered, known)}")
    download = _download(registered)
    if download is None:
        raise DataError(f"data '{registered}' needs no fetching: train with a recipe that names it")
    return download.get(on_progress or (lambda line: None))


def _download(name: str) -> Download | None:
    return getattr(find("data", name), "DOWNLOAD", None)


def _listed(name: str) -> Listed:
    download = _download(name)
    if download is None:
        summary = (find("data", name).__doc__ or "").strip().partition("\n")[0]
        return Listed(name, summary, "", None, None)
    fetched = cache.read(download.entry) is not None
    return Listed(name, download.summary, download.licence, fetched, download.entry if fetched else None)
