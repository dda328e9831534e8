"""Columns of Arrow, which Parquet files and Hugging Face data sets have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def arrow_values(arrow: Any, column: Any) -> Sequence[Any] | np.ndarray:
    """Return an Arrow column as an array, where all are numbers, or as a list of Python's values."""
    is_number = arrow.types.is_integer(column.type) or arrow.types.is_floating(column.type)
    if is_number and not column.null_count:
        return column.to_numpy()  # type: ignore[no-any-return]
    return column.to_pylist()  # type: ignore[no-any-return]
