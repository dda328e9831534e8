"""Raw inputs for a trained model, read from a user's files: texts, images, rows of a table."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from hvdtrain.data.documents import readable
from hvdtrain.data.encoders import Encoder, ImageEncoder, TableEncoder, TextEncoder
from hvdtrain.data.formats.images import decode
from hvdtrain.errors import DataError

Named = tuple[dict[str, Any], Any]
"""What says which input it is, as JSON values, and the raw input."""
IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm")


def read_inputs(encoder: Encoder, paths: Sequence[Path], column: str | None = None) -> Iterator[Named]:
    """Yield the inputs in files, in order, for a model with this encoder.

    Texts: each line of a text file, or `column` ("text" by default) of each object of a `.jsonl` file or row of a
    `.csv` file. Images: image files, and all of those in a directory. Tables: `.csv` with a header, or `.jsonl`, whose
    columns have the names that the model was trained with.

    Raises:
        DataError: a file can't be read or holds something else; names file, line and value.
    """
    for path in paths:
        if not path.exists():
            raise DataError(f"{path} does not exist (relative paths start at {Path.cwd()})")
        if isinstance(encoder, ImageEncoder):
            yield from _images(encoder, path)
        elif isinstance(encoder, TableEncoder):
            yield from _rows(encoder, path)
        elif isinstance(encoder, TextEncoder):
            with readable(path), path.open(encoding="utf-8-sig", newline="") as file:
                yield from _texts(file, path, column)
        else:
            raise DataError(f"a model of {encoder.kind} reads no files")


def read_lines(file: TextIO) -> Iterator[Named]:
    """Yield each line of a stream as a text."""
    for number, line in enumerate(file, start=1):
        text = line.rstrip("\r\n")
        yield {"line": number, "input": text}, text


def _texts(file: TextIO, path: Path, column: str | None) -> Iterator[Named]:
    try:
        if path.suffix == ".jsonl":
            for number, values in _objects(file, path):
                text = _field(values, column or "text", path, number)
                if not isinstance(text, str):
                    raise DataError(f"{path}:{number}: {column or 'text'} is {text!r}; expected a text")
                yield {"file": str(path), "line": number, "input": text}, text
        elif path.suffix == ".csv":
            for number, row in _csv_rows(file, path):
                text = _field(row, column or "text", path, number)
                yield {"file": str(path), "line": number, "input": text}, text
        else:
            for where, text in read_lines(file):
                yield {"file": str(path)} | where, text
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 (byte {error.start}); convert it first") from error


def _rows(encoder: TableEncoder, path: Path) -> Iterator[Named]:
    names = encoder.feature_names
    with readable(path), path.open(encoding="utf-8-sig", newline="") as file:
        rows = _objects(file, path) if path.suffix == ".jsonl" else _csv_rows(file, path)
        for number, values in rows:
            row = [_number(_field(values, name, path, number), name, path, number) for name in names]
            yield {"file": str(path), "line": number}, row


def _csv_rows(file: TextIO, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.DictReader(file, restkey="", strict=True)
    try:
        for row in reader:
            if "" in row:
                expected = len(reader.fieldnames or ())
                raise DataError(f"{path}:{reader.line_num}: {len(row[''])} fields more than the header's {expected}")
            yield reader.line_num, row
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: not CSV ({error})") from error


def _objects(file: TextIO, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except ValueError as error:
            raise DataError(f"{path}:{number}: not JSON ({error})") from error
        if not isinstance(values, dict):
            raise DataError(f"{path}:{number}: expected a JSON object, not {type(values).__name__}")
        yield number, values


def _field(values: dict[str, Any], name: str, path: Path, number: int) -> Any:
    value = values.get(name)
    if value is None:
        raise DataError(f"{path}:{number}: no value for '{name}'; it has {', '.join(values) or 'nothing'}")
    return value


def _number(value: Any, name: str, path: Path, number: int) -> float:
    try:
        found = float(value)
    except (TypeError, ValueError):
        found = float("nan")
    if not np.isfinite(found):
        raise DataError(f"{path}:{number}: {name} is {value!r}; expected a finite number")
    return found


def _images(encoder: ImageEncoder, path: Path) -> Iterator[Named]:
    files = [path]
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix.lower() in IMAGES)
        if not files:
            raise DataError(f"the directory {path} holds no image ({', '.join(IMAGES)})")
    for file in files:
        yield {"file": str(file)}, decode(file, str(file), encoder.shape)
