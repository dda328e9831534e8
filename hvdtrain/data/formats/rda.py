"""Reading an R data file (`.rda`, XDR, version 2) as far as a data frame of factors and numbers needs it.

The format: "R Internals", section 1.8, serialization formats (https://cran.r-project.org/doc/manuals/R-ints.html). What
is there is vectors, texts, symbols, references to symbols, and pair lists of attributes; functions, environments and
everything else that could do something are refused.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MAGIC = b"RDX2\nX\n"
SYMBOL, PAIR_LIST, TEXT, LOGICAL, INTEGER, REAL, TEXTS, LIST, REFERENCE, NIL = 1, 2, 9, 10, 13, 14, 16, 19, 255, 254
HAS_ATTRIBUTES, HAS_TAG = 1 << 9, 1 << 10
DEEPEST = 50


@dataclass(frozen=True)
class Vector:
    """An R vector: `values` are an array, or a list of texts or of vectors; `attributes` by name."""

    values: Any
    attributes: Mapping[str, Any] = field(default_factory=dict)


def read_rda(content: bytes) -> dict[str, Any]:
    """Return the objects of an uncompressed file by name.

    Raises:
        ValueError: it is no such file, is cut off, or holds something else.
    """
    if not content.startswith(MAGIC):
        raise ValueError("it does not begin as an R data file of version 2")
    reader = _Reader(content, len(MAGIC) + 12)  # the version of the format, the writer's and the oldest reader's
    objects = reader.item()
    if not isinstance(objects, dict):
        raise ValueError("it holds no named objects")
    return objects


class _Reader:
    def __init__(self, content: bytes, place: int) -> None:
        self.content = content
        self.place = place
        self.symbols: list[str] = []
        self.depth = 0

    def take(self, count: int) -> bytes:
        if count < 0 or self.place + count > len(self.content):
            raise ValueError("it is cut off")
        self.place += count
        return self.content[self.place - count : self.place]

    def integer(self) -> int:
        return int(struct.unpack(">i", self.take(4))[0])

    def item(self) -> Any:
        """Read one value of any kind: None, text, `Vector`, or a pair list as a dictionary."""
        self.depth += 1
        if self.depth > DEEPEST:
            raise ValueError("it is nested too deeply")
        flags = self.integer()
        kind = flags & 0xFF
        if kind == PAIR_LIST:
            value: Any = self.pair_list(flags)
        elif kind in (LOGICAL, INTEGER, REAL, TEXTS, LIST):
            values = self.vector(kind, self.integer())
            value = Vector(values, self.item() or {} if flags & HAS_ATTRIBUTES else {})
        else:
            value = self.word(kind, flags)
        self.depth -= 1
        return value

    def word(self, kind: int, flags: int) -> str | None:
        if kind == NIL:
            return None
        if kind == TEXT:
            length = self.integer()
            return None if length == -1 else self.take(length).decode("utf-8")
        if kind == SYMBOL:
            self.symbols.append(str(self.item()))
            return self.symbols[-1]
        if kind == REFERENCE:
            index = flags >> 8 or self.integer()
            if not 1 <= index <= len(self.symbols):
                raise ValueError("it refers to a symbol that it has not")
            return self.symbols[index - 1]
        raise ValueError(f"it holds something of kind {kind}, which is not read here")

    def pair_list(self, flags: int) -> dict[str, Any]:
        """Read pairs up to the nil at their end; each has flags of its own."""
        pairs = {}
        while flags & 0xFF == PAIR_LIST:
            if flags & HAS_ATTRIBUTES or not flags & HAS_TAG:
                raise ValueError("it holds a pair list without names")
            name = str(self.item())
            pairs[name] = self.item()
            flags = self.integer()
        if flags & 0xFF != NIL:
            raise ValueError("it holds a pair list without end")
        return pairs

    def vector(self, kind: int, length: int) -> Any:
        import numpy as np

        if kind in (TEXTS, LIST):
            if not 0 <= length <= len(self.content):
                raise ValueError("it is cut off")
            return [self.item() for _ in range(length)]
        return np.frombuffer(self.take(length * (8 if kind == REAL else 4)), ">f8" if kind == REAL else ">i4")
