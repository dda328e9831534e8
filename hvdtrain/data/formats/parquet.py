"""Parquet files into columns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hvdtrain.data.cache import sha256
from hvdtrain.data.documents import readable
from hvdtrain.data.formats.arrow import arrow_values
from hvdtrain.data.formats.rows import Table
from hvdtrain.errors import DataError, SetupError


def read_parquet(name: str, path: Path, wanted: set[str] | None = None) -> Table:
    """Return the rows of a file, called by their numbers from 1.

    Args:
        wanted: the columns to keep; None: all.

    Raises:
        DataError: it can't be read, is damaged or no Parquet file, or has two columns of one name.
        SetupError: PyArrow is not installed.
    """
    arrow, parquet = _pyarrow()
    with readable(name):
        opened = path.open("rb")
    try:
        with opened, parquet.ParquetFile(opened) as file:
            names = file.schema_arrow.names
            if repeated := [each for each in names if names.count(each) > 1]:
                raise DataError(f"{name}: two columns are called '{repeated[0]}'; give each its own name")
            kept = [each for each in names if wanted is None or each in wanted]
            read = file.read(columns=kept)
            rows = file.metadata.num_rows
    except (arrow.ArrowException, ValueError, OSError) as error:
        raise DataError(f"{name} can't be read as Parquet: {str(error).splitlines()[0]}") from error
    with readable(name):
        digest = sha256(path)
    columns: dict[str, Sequence[Any] | np.ndarray] = {each: [] for each in names}
    columns |= {each: arrow_values(arrow, read.column(each)) for each in kept}
    return Table(name, digest, columns, rows, lines=None, typed=True)


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise SetupError(
            "Parquet files need PyArrow, which is not installed: pip install 'hvdtrain[parquet]'"
        ) from error
    return pyarrow, pyarrow.parquet
