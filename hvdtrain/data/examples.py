"""Examples: what a source that is no running text returns, before it is split and encoded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

Kind = Literal["texts", "pairs", "table", "images"]
TRAIN, VAL, TEST = 0, 1, 2


@dataclass(frozen=True)
class Examples:
    """N samples in the source's own order, raw.

    Attributes:
        inputs: N texts; or rows (N, F) of floating point numbers; or images (N, C, H, W) uint8, an array or anything
            that has `len`, `shape` and `[indices] -> (len(indices), C, H, W)`, so that files are read when needed.
        targets: class ids (N,) int64 into `class_names`; numbers (N,) float; N texts, for translation; None where
            there are none.
        class_names: what the class ids stand for, empty unless `targets` are class ids.
        fingerprint: equal for equal content: a hash of the content, or the name and version of a fetched data set.
        feature_names: of the F columns of a table.
        parts: (N,) int8 of TRAIN, VAL and TEST where the source says what is held out; TEST or VAL may be missing,
            and is then drawn from TRAIN. None: drawn by the recipe's seed.
        shards: (N,) int64, the number of the file or folder that each sample came from, for partition `shard`.
        references: known marks to hold a result against, by metric and by name, such as
            {"accuracy": {"best that the noise allows": 0.95}}; of the held-out data.
        notes: what a person should know of the data, shown at the start of a run.
    """

    inputs: Sequence[str] | np.ndarray
    targets: Sequence[str] | np.ndarray | None
    fingerprint: str
    class_names: tuple[str, ...] = ()
    feature_names: tuple[str, ...] = ()
    parts: np.ndarray | None = None
    shards: np.ndarray | None = None
    references: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def kind(self) -> Kind:
        """What a sample is."""
        if isinstance(self.inputs, (list, tuple)):
            texts = isinstance(self.targets, (list, tuple))
            return "pairs" if texts else "texts"
        return "images" if len(self.inputs.shape) == 4 else "table"  # type: ignore[union-attr]

    def __len__(self) -> int:
        return len(self.inputs)
