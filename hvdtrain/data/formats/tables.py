"""Rows with named columns as examples: columns of numbers, one column of texts, and a target."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hvdtrain.data.documents import TextDocument
from hvdtrain.data.examples import TEST, TRAIN, VAL, Examples
from hvdtrain.data.formats.columns import IGNORED, ColumnFilesConfig, ColumnsConfig
from hvdtrain.data.formats.paths import find_files
from hvdtrain.data.formats.rows import Table, as_number, is_missing, numbers, raise_bad_rows, texts
from hvdtrain.data.formats.targets import learn_targets
from hvdtrain.errors import DataError

if TYPE_CHECKING:
    from hvdtrain.data.formats.columns import TargetConfig

LISTED = 20
"""Columns that a note names."""
Read = Callable[[str, Path, "set[str] | None"], Table]
"""Reads the file of a name and a path: the columns of a set, or all; those of the set that are missing are left out."""


@dataclass(frozen=True)
class Part:
    """A table, and which part of the data it is."""

    table: Table
    part: int


def read_parts(config: ColumnFilesConfig, suffixes: Sequence[str], read: Read, wanted: set[str] | None) -> list[Part]:
    """Read the files of a recipe.

    Raises:
        DataError: a file is missing, twice in the recipe, has no rows, or can't be read.
    """
    return [
        Part(checked(read(name, path, wanted)), part)
        for part, name, path in files_of_parts(config.paths, config.val_paths, config.test_paths, suffixes)
    ]


def files_of_parts(
    paths: Sequence[str],
    val_paths: Sequence[str] | None,
    test_paths: Sequence[str] | None,
    suffixes: Sequence[str],
) -> list[tuple[int, str, Path]]:
    """Return the part, the name and the path of each file.

    Raises:
        DataError: a path stands for no file, or a file is in two parts.
    """
    found: dict[Path, tuple[int, str, str]] = {}
    for part, key, listed in ((TRAIN, "paths", paths), (VAL, "val_paths", val_paths), (TEST, "test_paths", test_paths)):
        for name, path in find_files(listed or (), key, suffixes):
            if path in found:
                raise DataError(
                    f"data.{key}: {name} is also in data.{found[path][2]}: it can't be held out and learned"
                )
            found[path] = (part, name, key)
    return [(part, name, path) for path, (part, name, _) in found.items()]


def checked(table: Table) -> Table:
    """Make sure that a table has rows; DataError where it has none."""
    if not len(table):
        raise DataError(f"{table.name} has no rows")
    return table


def wanted_columns(config: ColumnsConfig) -> set[str] | None:
    """Return the columns that a recipe names, or None where it takes whatever there is."""
    if config.inputs is None:
        return None
    inputs = [config.inputs] if isinstance(config.inputs, str) else config.inputs
    return {*inputs, *([config.target] if config.target else [])}


def examples_of(config: ColumnsConfig, parts: Sequence[Part]) -> Examples:
    """Return the rows as samples.

    Raises:
        DataError: a column is missing, or rows are bad: five of each file are listed.
    """
    tables = [part.table for part in parts]
    if config.target is None:
        listed = ", ".join(tables[0].columns)
        raise DataError(f"data.target is missing: which column of {tables[0].name} is to be predicted? It has {listed}")
    inputs: list[str] | np.ndarray
    names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    if isinstance(config.inputs, str):
        inputs = [text for table in tables for text in texts(table, config.inputs, "inputs")]
    else:
        names, notes = (tuple(config.inputs), ()) if config.inputs else _columns_of_numbers(tables, config.target)
        inputs = np.concatenate([_matrix(table, names) for table in tables])
    targets = learn_targets(tables, config.target, config.target_kind, isinstance(config.inputs, str))
    raise_bad_rows(tables)
    parts_of_rows, shards = parts_and_shards(parts)
    return Examples(
        inputs=inputs,
        targets=targets.values,
        class_names=targets.class_names,
        fingerprint=fingerprint(config, parts),
        feature_names=names,
        notes=(*(note for table in tables for note in table.notes), *notes, *targets.notes),
        parts=parts_of_rows,
        shards=shards,
    )


def parts_and_shards(parts: Sequence[Part]) -> tuple[np.ndarray | None, np.ndarray]:
    """Return those two of `Examples`: a table is a shard."""
    sizes = [len(part.table) for part in parts]
    own = any(part.part != TRAIN for part in parts)
    parts_of_rows = np.repeat(np.array([part.part for part in parts], dtype=np.int8), sizes) if own else None
    return parts_of_rows, np.repeat(np.arange(len(parts)), sizes)


def documents_of(config: ColumnsConfig, parts: Sequence[Part]) -> list[TextDocument]:
    """Return the texts of the input column, each a document of its own.

    Raises:
        DataError: the recipe names no such column, or holds out nothing that way; a row has no text.
    """
    tables = [part.table for part in parts]
    if not isinstance(config.inputs, str):
        listed = ", ".join(tables[0].columns)
        raise DataError(
            f"data.inputs: a language model reads one column of texts, such as data.inputs=text; {tables[0].name} has "
            f"{listed}"
        )
    if any(part.part != TRAIN for part in parts) or not config.val_fraction:
        raise DataError(
            "data: of running text a share is held out, data.val_fraction, above 0; val_paths and test_paths are for "
            "single samples"
        )
    column = config.inputs
    documents = [
        TextDocument(table.where(row), text)
        for table in tables
        for row, text in enumerate(texts(table, column, "inputs"))
    ]
    raise_bad_rows(tables)
    return documents


def fingerprint(config: TargetConfig, parts: Sequence[Part]) -> str:
    """Return a hash of the content of the files and of what the recipe takes from them."""
    taken = config.model_dump(mode="json", exclude=IGNORED | {"max_seq_len"})
    everything = [config.name, taken, [(part.part, part.table.digest) for part in parts]]
    return hashlib.sha256(json.dumps(everything, sort_keys=True).encode()).hexdigest()


def _matrix(table: Table, names: Sequence[str]) -> np.ndarray:
    return np.column_stack([numbers(table, name, "inputs") for name in names])


def _columns_of_numbers(tables: Sequence[Table], target: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the columns, other than the target, most of whose values are numbers, and notes on them and the others.

    A column without a name is none of them: most often it counts the rows, as pandas writes it.
    """
    first = tables[0]
    chosen: list[str] = []
    left_out: list[str] = []
    unnamed = {name for table in tables for name in table.unnamed}
    known = dict.fromkeys(name for table in tables for name in table.columns if name != target and name not in unnamed)
    for name in known:
        (chosen if _mostly_numbers(tables, name) else left_out).append(name)
    if not chosen:
        raise DataError(
            f"{first.name} has no column of numbers beside the target '{target}' (it has {', '.join(first.columns)}); "
            "one column of texts would be data.inputs=NAME"
        )
    notes = [f"inputs, as data.inputs names none: {_listed(chosen)}"]
    if left_out:
        notes.append(f"no inputs, as most of their values are no numbers: {_listed(left_out)}")
    if unnamed:
        notes.append(
            f"no inputs, as the header gives them no name: {_listed(sorted(unnamed))}; data.inputs may name them"
        )
    return tuple(chosen), tuple(notes)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:LISTED]) + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")


def _mostly_numbers(tables: Sequence[Table], name: str) -> bool:
    present = found = 0
    for table in tables:
        values = table.column(name, "inputs")
        if isinstance(values, np.ndarray):
            present, found = present + len(values), found + len(values)
            continue
        for value in values:
            present += not is_missing(value)
            found += not is_missing(value) and as_number(value, table.typed) is not None
    return 2 * found > present
