"""Data made ready for training: its parts, and what a run must know of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

from hvdtrain.data.encoders import Encoder

if TYPE_CHECKING:
    import torch


class Dataset(Protocol):
    """Samples that are made into batches when they are asked for."""

    @property
    def targets(self) -> int:
        """Valid targets of all samples together."""
        ...

    @property
    def labels(self) -> np.ndarray | None:
        """The class of each sample, (N,) int64, or None: what `stratified` and `dirichlet` deal by."""
        ...

    @property
    def shards(self) -> np.ndarray | None:
        """The number of the file, folder or document of each sample, (N,) int64, or None."""
        ...

    def __len__(self) -> int: ...

    def batch(self, indices: np.ndarray) -> dict[str, torch.Tensor]:
        """Return samples by their indices, by name; the first dimension is `len(indices)`, which may be 0."""
        ...


@dataclass(frozen=True, kw_only=True)
class PreparedData:
    """The parts of a data set. Equal fingerprints mean equal samples, encoded equally, in equal parts.

    `references` are known marks of the test part, or of validation where there is no test part; `val` may be `test`.
    """

    train: Dataset
    val: Dataset
    test: Dataset | None = None
    encoder: Encoder
    fingerprint: str
    references: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def may_choose(self) -> bool:
        """Whether checkpoints may be chosen by validation: not where it is the test part."""
        return self.val is not self.test

    def references_of(self, part: str) -> Mapping[str, Mapping[str, float]]:
        """Return the known marks of a part, "train", "val" or "test": none where they are another part's."""
        same = self.test is None or self.test is self.val
        return self.references if part == "test" or (part == "val" and same) else {}
