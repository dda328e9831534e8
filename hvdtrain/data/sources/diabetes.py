"""Diabetes: 442 patients, ten baseline measures, and how far the disease had progressed a year later.

The data of Efron, Hastie, Johnstone and Tibshirani, "Least Angle Regression" (2004), in its own units: age in years,
sex as 1 or 2, body mass index, mean blood pressure, and six measures of blood serum.
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

FEATURES = ("age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6")


class Config(ExamplesConfig):
    """442 patients, as `hvdtrain data fetch diabetes` put them into the cache."""

    name: Literal["diabetes"] = "diabetes"


def examples(config: Config) -> Examples:
    """Return the rows (442, 10) and the progression (442,), float64; DataError where they were not fetched."""
    import numpy as np

    from hvdtrain.data.examples import Examples

    rows = np.load(DOWNLOAD.require() / "rows.npy")
    return Examples(rows[:, :-1], rows[:, -1], DOWNLOAD.fingerprint, feature_names=FEATURES)


def unpack(archives: Sequence[Path], folder: Path) -> None:
    """Write `rows.npy` (442, 11) float64: the measures and the progression."""
    import numpy as np

    tables = [data_file(archives[0], f"diabetes_{what}.csv.gz") for what in ("data_raw", "target")]
    features, target = (np.loadtxt(io.BytesIO(gzip.decompress(table))) for table in tables)
    if features.shape != (442, 10) or target.shape != (442,):
        raise DataError(f"{archives[0]} holds tables of shape {features.shape} and {target.shape}, not 442 patients")
    np.save(folder / "rows.npy", np.column_stack([features, target]))


DOWNLOAD = Download(
    name="diabetes",
    version="1.7.2",
    summary="442 patients by 10 measures; the progression of diabetes a year later (Efron et al. 2004)",
    licence="published with the paper; the collection is BSD 3-Clause, scikit-learn",
    archives=(ARCHIVE,),
    unpack=unpack,
)
