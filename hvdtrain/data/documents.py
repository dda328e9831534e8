"""Documents: pieces of text that are read when they are needed, so that a corpus may be larger than memory."""

from __future__ import annotations

import codecs
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from hvdtrain.data.cache import sha256
from hvdtrain.errors import DataError

BLOCK = 1 << 18
"""Bytes that are read and decoded at a time."""


@dataclass(frozen=True)
class Document:
    """A text file, or the characters of it from `start` to `end`. `name` is what messages call it."""

    name: str
    path: Path
    encoding: str = "utf-8"
    start: int = 0
    end: int | None = None

    def size(self) -> int:
        """Return the size of the whole file in bytes; DataError where it can't be read."""
        with readable(self.path):
            return self.path.stat().st_size

    def digest(self) -> str:
        """Return the SHA-256 of the whole file's bytes; DataError where it can't be read."""
        with readable(self.path):
            return sha256(self.path)

    def chunks(self) -> Iterator[str]:
        """Yield the text in pieces of about 250,000 characters, which end with a line where lines are not longer.

        Raises:
            DataError: the file can't be read, or is not in its encoding; the message gives the byte offset.
        """
        position, rest = 0, ""
        for text in self._decoded():
            first = max(0, self.start - position)
            last = len(text) if self.end is None else max(0, self.end - position)
            position += len(text)
            rest += text[first:last]
            cut = rest.rfind("\n") + 1 or (len(rest) if len(rest) > BLOCK else 0)
            if cut:
                yield rest[:cut]
                rest = rest[cut:]
            if self.end is not None and position >= self.end:
                break
        if rest:
            yield rest

    def split_tail(self, fraction: float) -> tuple[Document, Document]:
        """Return the document's head and tail, cut at the end of a line; the tail has about that fraction of it."""
        length = sum(len(text) for text in self._decoded())
        wanted = cut = round(length * (1 - fraction))
        position = 0
        for text in self._decoded():
            line_end = text.find("\n", max(0, wanted - 1 - position))
            if line_end >= 0:
                cut = position + line_end + 1
                break
            position += len(text)
        if cut - wanted > (length - wanted) // 2:  # that line is most of the tail
            cut = wanted
        return replace(self, end=cut), replace(self, name=f"the tail of {self.name}", start=cut)

    def _decoded(self) -> Iterator[str]:
        decoder = codecs.getincrementaldecoder(self.encoding)()
        offset = 0
        with readable(self.path), self.path.open("rb") as file:
            while True:
                block = file.read(BLOCK)
                pending = len(decoder.getstate()[0])
                try:
                    text = decoder.decode(block, final=not block)
                except UnicodeError as error:
                    at = offset - pending + getattr(error, "start", 0)
                    raise DataError(
                        f"{self.path} is not {self.encoding}: byte {at} ({getattr(error, 'reason', error)}); "
                        "set data.encoding to the encoding of your files, or leave this file out"
                    ) from error
                offset += len(block)
                if text:
                    yield text
                if not block:
                    return


@dataclass(frozen=True)
class TextDocument:
    """A text that is held in memory, with what a `Document` has."""

    name: str
    text: str
    encoding: str = "utf-8"

    @property
    def path(self) -> str:
        """What messages call it."""
        return self.name

    def size(self) -> int:
        """Return its size in bytes of UTF-8."""
        return len(self.text.encode())

    def digest(self) -> str:
        """Return the SHA-256 of its bytes."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def chunks(self) -> Iterator[str]:
        """Yield the text."""
        yield self.text

    def split_tail(self, fraction: float) -> tuple[TextDocument, TextDocument]:
        """Return the text's head and tail; the tail has about that fraction of its characters."""
        cut = round(len(self.text) * (1 - fraction))
        return replace(self, text=self.text[:cut]), TextDocument(f"the tail of {self.name}", self.text[cut:])


AnyDocument: TypeAlias = Document | TextDocument


@contextmanager
def readable(path: Path | str) -> Iterator[None]:
    """Turn an error of the operating system into a DataError that names the file."""
    try:
        yield
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
