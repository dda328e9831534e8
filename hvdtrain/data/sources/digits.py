"""1,797 handwritten digits of 8 x 8 pixels: the test part of UCI's optical recognition of handwritten digits.

Their 17 grey levels are stretched to 0..255. The digits of a writer fall into all parts.
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from hvdtrain.data._config import ExamplesConfig
from hvdtrain.data._download import Download
from hvdtrain.data.sources._scikit_learn import ARCHIVE, data_file
from hvdtrain.errors import DataError

if TYPE_CHECKING:
    from hvdtrain.data.examples import Examples

SHAPE = (1797, 1, 8, 8)
BRIGHTEST = 16


class Config(ExamplesConfig):
    """1,797 digits, as `hvdtrain data fetch digits` put them into the cache."""

    name: Literal["digits"] = "digits"


def examples(config: Config) -> Examples:
    """Return the images (1,797, 1, 8, 8) uint8; DataError where they were not fetched."""
    import numpy as np

    from hvdtrain.data.examples import Examples

    folder = DOWNLOAD.require()
    return Examples(
        inputs=np.load(folder / "images.npy"),
        targets=np.load(folder / "labels.npy").astype(np.int64),
        fingerprint=DOWNLOAD.fingerprint,
        class_names=tuple("0123456789"),
    )


def unpack(archives: Sequence[Path], folder: Path) -> None:
    """Write `images.npy` and `labels.npy`, both uint8, from rows of 64 levels and a label."""
    import numpy as np

    rows = np.loadtxt(io.BytesIO(gzip.decompress(data_file(archives[0], "digits.csv.gz"))), delimiter=",")
    if rows.shape != (SHAPE[0], 65):
        raise DataError(f"{archives[0]} holds a table of shape {rows.shape}, not (1797, 65)")
    np.save(folder / "images.npy", np.rint(rows[:, :-1] * 255 / BRIGHTEST).astype(np.uint8).reshape(SHAPE))
    np.save(folder / "labels.npy", rows[:, -1].astype(np.uint8))


DOWNLOAD = Download(
    name="digits",
    version="1.7.2",
    summary="1,797 handwritten digits, 8 x 8, ten classes (Alpaydin and Kaynak 1998)",
    licence="CC BY 4.0, UCI machine learning repository; the collection is BSD 3-Clause, scikit-learn",
    archives=(ARCHIVE,),
    unpack=unpack,
)
