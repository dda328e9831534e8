"""The prepared data as PyTorch's users have it: a map-style dataset."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset
from work import Work


class Samples(Dataset[dict[str, torch.Tensor]]):
    """Sample i is `inputs` and `targets`, (seq_len,) int64 each, or under the names that are asked for."""

    def __init__(self, work: Work, inputs: str = "inputs", targets: str = "targets") -> None:
        self._names = (inputs, targets)
        self._arrays = [np.load(Path(work.folder) / f"{name}.npy", mmap_mode="r") for name in ("inputs", "targets")]

    def __len__(self) -> int:
        return len(self._arrays[0])

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        rows = (torch.from_numpy(np.array(array[index])) for array in self._arrays)
        return dict(zip(self._names, rows, strict=True))


class CausalSamples(Samples):
    """Sample i as Hugging Face's causal models want it: they shift the labels themselves."""

    def __init__(self, work: Work) -> None:
        super().__init__(work, "input_ids", "labels")

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        ids = super().__getitem__(index)["input_ids"]
        return {"input_ids": ids, "labels": ids}
