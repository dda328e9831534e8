"""The user's own Parquet files: columns of numbers or texts, and what is to be predicted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from hvdtrain.data.formats.columns import ColumnFilesConfig

if TYPE_CHECKING:
    from hvdtrain.data.documents import TextDocument
    from hvdtrain.data.examples import Examples
    from hvdtrain.data.formats.tables import Part

SUFFIXES = (".parquet", ".pq")


class Config(ColumnFilesConfig):
    """Parquet files; they are read by PyArrow: pip install 'hvdtrain[parquet]'."""

    name: Literal["parquet"] = "parquet"


def examples(config: Config) -> Examples:
    """Return one sample a row; DataError where a file or a row can't be used."""
    from hvdtrain.data.formats.tables import examples_of

    return examples_of(config, _parts(config))


def documents(config: Config) -> list[TextDocument]:
    """Return the texts of the input column, one a row; DataError where a file or a row can't be used."""
    from hvdtrain.data.formats.tables import documents_of

    return documents_of(config, _parts(config))


def _parts(config: Config) -> list[Part]:
    from hvdtrain.data.formats.parquet import read_parquet
    from hvdtrain.data.formats.tables import read_parts, wanted_columns

    return read_parts(config, SUFFIXES, read_parquet, wanted_columns(config))
