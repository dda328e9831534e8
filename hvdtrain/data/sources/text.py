"""The user's own text: files, globs and directories, each file one document."""

from __future__ import annotations

import codecs
import glob
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from hvdtrain.data._text import TextConfig
from hvdtrain.data.documents import Document, readable
from hvdtrain.errors import DataError, nearest


class Config(TextConfig):
    """Text files. A path is a file, a glob (`corpus/**/*.md`), or a directory: every `.txt` file below it.

    Relative paths start at the working directory and `~` at the home directory; `encoding` is any that Python knows.
    """

    name: Literal["text"] = "text"
    paths: list[Annotated[str, Field(min_length=1)]] = Field(min_length=1)
    encoding: str = "utf-8"

    @field_validator("encoding")
    @classmethod
    def _is_text_encoding(cls, value: str) -> str:
        try:
            "".encode(value)
            return codecs.lookup(value).name
        except (LookupError, UnicodeError, ValueError) as error:
            raise ValueError(f"no text encoding is named '{value}'; common ones are utf-8, latin-1, cp1252") from error


def documents(config: Config) -> list[Document]:
    """Return one document a file, each file once, in the order of the paths and by name within one.

    Raises:
        DataError: a path is missing, matches nothing, or is no regular file.
    """
    files: dict[Path, str] = {}
    for path in config.paths:
        for found in _expand(path):
            files.setdefault(Path(found).resolve(), found)
    return [Document(name, path, config.encoding) for path, name in files.items()]


def _expand(path: str) -> list[str]:
    """Return the files that a path of the recipe stands for. A name that exists is never taken for a glob."""
    place = Path(path).expanduser()
    found: list[str] = []
    with readable(path):
        if place.is_dir():
            found, trouble = (
                sorted(_text_files(place)),
                f"the directory {path} holds no .txt file; use a glob for others",
            )
        elif place.is_file():
            found, trouble = [str(place)], ""
        elif place.exists():
            trouble = f"{path} is not a regular file"
        elif any(sign in path for sign in "*?["):
            matches = glob.glob(str(place), recursive=True)  # noqa: PTH207 - Path.glob takes no absolute pattern
            found, trouble = sorted(filter(os.path.isfile, matches)), f"no file matches {path}"
        else:
            trouble = f"{path} does not exist{_nearest_beside(place)}"
    if not found:
        raise DataError(f"data.paths: {trouble} (relative paths start at {Path.cwd()})")
    return found


def _text_files(folder: Path) -> Iterator[str]:
    """Yield the `.txt` files below a folder, hidden ones and links to other folders left out."""
    for below, folders, names in os.walk(folder, onerror=_cannot_list):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if name.endswith(".txt") and not name.startswith(".") and (file := Path(below, name)).is_file():
                yield str(file)


def _cannot_list(error: OSError) -> None:
    raise error


def _nearest_beside(place: Path) -> str:
    folder = place.absolute().parent
    return nearest(place.name, [entry.name for entry in folder.iterdir()]) if folder.is_dir() else ""
