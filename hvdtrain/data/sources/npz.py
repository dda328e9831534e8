"""The user's own NumPy arrays in .npz files: rows of numbers, or images, and what is to be predicted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from hvdtrain.data.formats.columns import Column, Path, TargetConfig

if TYPE_CHECKING:
    from hvdtrain.data.examples import Examples
    from hvdtrain.data.formats.npz import Arrays

SUFFIXES = (".npz",)


class Config(TargetConfig):
    """`.npz` files, as numpy.savez makes them. `inputs` and `target` are names of arrays; without `inputs` it is the
    only other one.

    Inputs are rows (N, F) of numbers, or uint8 images: (N, H, W), or with 1 or 3 `channels` first or last. Targets are
    (N,): numbers, or text. A path is a file, a glob, or a directory; `val_paths` and `test_paths` are held out.
    """

    name: Literal["npz"] = "npz"
    paths: list[Path] = Field(min_length=1)
    val_paths: list[Path] | None = Field(None, min_length=1)
    test_paths: list[Path] | None = Field(None, min_length=1)
    inputs: Column | None = None
    target_kind: Literal["auto", "class", "number"] = "auto"
    channels: Literal["auto", "first", "last"] = "auto"


def examples(config: Config) -> Examples:
    """Return one sample a row of the arrays; DataError where a file, an array or a row can't be used."""
    import numpy as np

    from hvdtrain.data.examples import Examples
    from hvdtrain.data.formats.npz import read_npz
    from hvdtrain.data.formats.rows import raise_bad_rows
    from hvdtrain.data.formats.tables import Part, checked, files_of_parts, fingerprint, parts_and_shards
    from hvdtrain.data.formats.targets import Targets, learn_targets

    read: list[Arrays] = []
    parts: list[Part] = []
    for part, name, path in files_of_parts(config.paths, config.val_paths, config.test_paths, SUFFIXES):
        read.append(read_npz(name, path, config.inputs, config.target, config.channels))
        parts.append(Part(checked(read[-1].table), part))
    _check_alike(read)
    tables = [part.table for part in parts]
    targets = learn_targets(tables, config.target, config.target_kind, with_texts=False) if config.target else None
    raise_bad_rows(tables)
    parts_of_rows, shards = parts_and_shards(parts)
    return Examples(
        inputs=np.concatenate([arrays.inputs for arrays in read]),
        targets=targets.values if targets else None,
        class_names=targets.class_names if targets else (),
        fingerprint=fingerprint(config, parts),
        notes=(targets or Targets([])).notes,
        parts=parts_of_rows,
        shards=shards,
    )


def _check_alike(read: list[Arrays]) -> None:
    from hvdtrain.errors import DataError

    first = read[0]
    for other in read[1:]:
        if other.inputs.shape[1:] != first.inputs.shape[1:]:
            raise DataError(
                f"{other.table.name} has inputs of the shape {other.inputs.shape[1:]}, and {first.table.name} of "
                f"{first.inputs.shape[1:]}"
            )
