"""The user's own JSONL files: an object a line, with numbers or texts, and what is to be predicted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from hvdtrain.data.formats.columns import ColumnFilesConfig

if TYPE_CHECKING:
    from hvdtrain.data.documents import TextDocument
    from hvdtrain.data.examples import Examples
    from hvdtrain.data.formats.tables import Part

SUFFIXES = (".jsonl", ".ndjson")


class Config(ColumnFilesConfig):
    """JSONL files, UTF-8; the keys of the objects are the columns."""

    name: Literal["jsonl"] = "jsonl"


def examples(config: Config) -> Examples:
    """Return one sample an object; DataError where a file or a line can't be used."""
    from hvdtrain.data.formats.tables import examples_of

    return examples_of(config, _parts(config))


def documents(config: Config) -> list[TextDocument]:
    """Return the texts of the input column, one an object; DataError where a file or a line can't be used."""
    from hvdtrain.data.formats.tables import documents_of

    return documents_of(config, _parts(config))


def _parts(config: Config) -> list[Part]:
    from hvdtrain.data.formats.jsonl import read_jsonl
    from hvdtrain.data.formats.tables import read_parts, wanted_columns

    return read_parts(config, SUFFIXES, read_jsonl, wanted_columns(config))
