"""The user's own text: files, globs and directories, each file one document."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from hvdtrain.data._text import TextConfig
from hvdtrain.data.documents import Document
from hvdtrain.data.formats.columns import Encoding
from hvdtrain.data.formats.paths import find_files


class Config(TextConfig):
    """Text files. A path is a file, a glob (`corpus/**/*.md`), or a directory: every `.txt` file below it.

    Relative paths start at the working directory and `~` at the home directory; `encoding` is any that Python knows.
    """

    name: Literal["text"] = "text"
    paths: list[Annotated[str, Field(min_length=1)]] = Field(min_length=1)
    encoding: Encoding = "utf-8"


def documents(config: Config) -> list[Document]:
    """Return one document a file, each file once, in the order of the paths and by name within one.

    Raises:
        DataError: a path is missing, matches nothing, or is no regular file.
    """
    return [Document(name, path, config.encoding) for name, path in find_files(config.paths, "paths", (".txt",))]
