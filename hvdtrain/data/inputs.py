"""Raw inputs for a trained model, read from a user's files: texts, images, rows of a table.

Files of the kinds that models are trained on are read as training reads them, with what the recipe says of them.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from hvdtrain.data.encoders import Encoder, ImageEncoder, TableEncoder, TextEncoder
from hvdtrain.data.formats.csv import CsvForm, read_csv
from hvdtrain.data.formats.images import IMAGES, decode
from hvdtrain.data.formats.jsonl import read_jsonl
from hvdtrain.data.formats.npz import Arrays, read_npz_inputs
from hvdtrain.data.formats.parquet import read_parquet
from hvdtrain.data.formats.rows import Table, as_number, numbers, raise_bad_rows, read_text, texts, unknown_column
from hvdtrain.data.formats.tables import checked
from hvdtrain.data.sources import csv, jsonl, npz, parquet
from hvdtrain.errors import DataError
from hvdtrain.registry import RegisteredConfig

Named = tuple[dict[str, Any], Any]
"""What says which input it is, as JSON values, and the raw input."""
SOURCES = {"csv": csv, "jsonl": jsonl, "npz": npz, "parquet": parquet}
LINES = ("", ".txt")
"""Files whose lines are texts, whatever the model was trained on."""


def read_inputs(
    encoder: Encoder, paths: Sequence[Path], column: str | None = None, data: RegisteredConfig | None = None
) -> Iterator[Named]:
    """Yield the inputs in files, in order, for a model with this encoder.

    Texts: each line of a text file, or a column of a `.jsonl`, `.csv` or `.parquet` file. Images: image files, all of
    those in a directory, and arrays of `.npz` files. Tables: `.csv`, `.jsonl` or `.parquet`, whose columns have the
    names that the model was trained with, or are as many where those had none; and `.npz`.

    Args:
        encoder: of the model.
        paths: files, or directories of images.
        column: of texts, by default that of `data`, or else "text"; of `.npz` files, the array.
        data: what the model was trained on, which says how CSV is written, and what files are whose names don't tell.

    Raises:
        DataError: a file can't be read or holds something else; names file, line and value, the first five of a file.
    """
    for path in paths:
        if not path.exists():
            raise DataError(f"{path} does not exist (relative paths start at {Path.cwd()})")
        if isinstance(encoder, ImageEncoder):
            yield from _images(encoder, path, column, data)
        elif isinstance(encoder, TableEncoder):
            yield from _rows(encoder, path, column, data)
        elif isinstance(encoder, TextEncoder):
            yield from _texts(path, column, data)
        else:
            raise DataError(f"a model of {encoder.kind} reads no files")


def read_lines(file: TextIO, name: str) -> Iterator[Named]:
    """Yield each line of a stream as a text; DataError where it is not in its encoding."""
    try:
        for number, line in enumerate(file, start=1):
            text = line.rstrip("\r\n")
            yield {"line": number, "input": text}, text
    except UnicodeDecodeError as error:
        raise DataError(f"{name} is not {error.encoding} ({error.reason}); convert it first") from error


def _kind(path: Path, data: RegisteredConfig | None) -> str | None:
    """Return which source's files such a file is one of; None where neither its name nor the recipe tells."""
    for kind, source in SOURCES.items():
        if path.suffix.lower() in source.SUFFIXES:
            return kind
    return data.name if data is not None and data.name in SOURCES else None


def _table(path: Path, kind: str | None, wanted: set[str] | None, data: RegisteredConfig | None) -> Table:
    name = str(path)
    if kind == "jsonl":
        return checked(read_jsonl(name, path, wanted))
    if kind == "parquet":
        return checked(read_parquet(name, path, wanted))
    form = CsvForm(may_set=False)
    if isinstance(data, csv.Config):
        form = CsvForm(data.columns, data.delimiter, data.encoding, may_set=False)
    return checked(read_csv(name, path, wanted, form))


def _arrays(path: Path, column: str | None, data: RegisteredConfig | None) -> Arrays:
    if isinstance(data, npz.Config):
        return read_npz_inputs(str(path), path, column or data.inputs, data.target, data.channels)
    return read_npz_inputs(str(path), path, column, None, "auto")


def _texts(path: Path, column: str | None, data: RegisteredConfig | None) -> Iterator[Named]:
    kind = None if path.suffix.lower() in LINES else _kind(path, data)
    if kind is None:
        text, _ = read_text(str(path), path)
        for where, line in read_lines(io.StringIO(text, newline=""), str(path)):
            yield {"file": str(path)} | where, line
        return
    if kind == "npz":
        raise DataError(f"{path} holds arrays, and the model reads texts: from text files, .csv, .jsonl or .parquet")
    trained = getattr(data, "inputs", None)
    names = [column] if column else [trained, "text"] if isinstance(trained, str) else ["text"]
    table = _table(path, kind, set(names), data)
    name = next((name for name in names if name in table.columns), None)
    if name is None:
        raise DataError(
            f"{unknown_column(str(path), names[0], table.columns, '')}; --column names the one of the texts"
        )
    found = texts(table, name, "", may_be_empty=True)
    raise_bad_rows([table])
    for row, text in enumerate(found):
        yield _place(path, table, row) | {"input": text}, text


def _rows(encoder: TableEncoder, path: Path, column: str | None, data: RegisteredConfig | None) -> Iterator[Named]:
    width = len(encoder.mean)
    kind = _kind(path, data)
    if kind == "npz":
        arrays = _arrays(path, column, data)
        table, rows = arrays.table, arrays.inputs
        if rows.ndim != 2 or rows.shape[1] != width:
            raise DataError(f"{path} has inputs of the shape {rows.shape}; the model reads rows (N, {width})")
    else:
        table = _table(path, kind, set(encoder.feature_names) or None, data)
        names = encoder.feature_names or _all_columns(table, width)
        rows = np.column_stack([numbers(table, name, "") for name in names])
    raise_bad_rows([table])
    for row, values in enumerate(rows.tolist()):
        yield _place(path, table, row), values


def _all_columns(table: Table, width: int) -> list[str]:
    """Return the names of the columns, in their order, for a model that was trained on columns without names."""
    names = list(table.columns)
    if len(names) != width:
        raise DataError(
            f"{table.name} has {len(names)} columns ({', '.join(names[:20])}); the model was trained on rows of "
            f"{width} numbers whose columns have no names: give it as many, in that order"
        )
    if not table.typed and all(as_number(name, typed=False) is not None for name in names):
        raise DataError(
            f"{table.name} begins with numbers, {', '.join(names[:20])}; expected a header: names of columns"
        )
    return names


def _place(path: Path, table: Table, row: int) -> dict[str, Any]:
    return {"file": str(path)} | ({"row": row + 1} if table.lines is None else {"line": table.lines[row]})


def _images(encoder: ImageEncoder, path: Path, column: str | None, data: RegisteredConfig | None) -> Iterator[Named]:
    if path.suffix.lower() in npz.SUFFIXES:
        arrays = _arrays(path, column, data)
        if arrays.inputs.shape[1:] != encoder.shape:
            raise DataError(
                f"{path} has inputs of the shape {arrays.inputs.shape}; the model reads images {encoder.shape}: "
                "channels, height, width"
            )
        for row, image in enumerate(arrays.inputs):
            yield _place(path, arrays.table, row), image
        return
    files = [path]
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix.lower() in IMAGES)
        if not files:
            raise DataError(f"the directory {path} holds no image ({', '.join(IMAGES)})")
    for file in files:
        yield {"file": str(file)}, decode(file, str(file), encoder.shape)
