"""The user's own CSV files: rows of numbers, or texts, and what is to be predicted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from hvdtrain.data.formats.columns import Column, ColumnFilesConfig, Encoding

if TYPE_CHECKING:
    from hvdtrain.data.documents import TextDocument
    from hvdtrain.data.examples import Examples
    from hvdtrain.data.formats.rows import Table
    from hvdtrain.data.formats.tables import Part

SUFFIXES = (".csv",)


class Config(ColumnFilesConfig):
    """CSV files whose first line names the columns, unless `columns` does; `delimiter` stands between fields, and a
    field with one in it is in double quotes. `encoding` is any that Python knows."""

    name: Literal["csv"] = "csv"
    columns: list[Column] | None = Field(None, min_length=1)
    delimiter: Annotated[str, Field(min_length=1, max_length=1, pattern=r'^[^"\r\n]$')] = ","
    encoding: Encoding = "utf-8"


def examples(config: Config) -> Examples:
    """Return one sample a row; DataError where a file or a row can't be used."""
    from hvdtrain.data.formats.tables import examples_of

    return examples_of(config, _parts(config))


def documents(config: Config) -> list[TextDocument]:
    """Return the texts of the input column, one a row; DataError where a file or a row can't be used."""
    from hvdtrain.data.formats.tables import documents_of

    return documents_of(config, _parts(config))


def _parts(config: Config) -> list[Part]:
    from hvdtrain.data.formats.csv import CsvForm, read_csv
    from hvdtrain.data.formats.tables import read_parts, wanted_columns

    form = CsvForm(config.columns, config.delimiter, config.encoding)

    def read(name: str, path: Path, wanted: set[str] | None) -> Table:
        return read_csv(name, path, wanted, form)

    return read_parts(config, SUFFIXES, read, wanted_columns(config))
