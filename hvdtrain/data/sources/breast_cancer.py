"""Breast cancer, Wisconsin (diagnostic): 569 tumours, 30 measures of their cells' nuclei, malignant or benign.

For ten measures of the nuclei in an image of the tissue there is the mean, the standard error and the worst, the mean
of the three largest (Street, Wolberg and Mangasarian 1993). Class ids are those of scikit-learn.
"""

from __future__ import annotations

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

MEASURES = (
    *("radius", "texture", "perimeter", "area", "smoothness"),
    *("compactness", "concavity", "concave points", "symmetry", "fractal dimension"),
)
FEATURES = tuple(f"{kind} {measure}" for kind in ("mean", "error of", "worst") for measure in MEASURES)


class Config(ExamplesConfig):
    """569 tumours, as `hvdtrain data fetch breast_cancer` put them into the cache."""

    name: Literal["breast_cancer"] = "breast_cancer"


def examples(config: Config) -> Examples:
    """Return the rows (569, 30) float64; DataError where they were not fetched."""
    import numpy as np

    from hvdtrain.data.examples import Examples

    rows = np.load(DOWNLOAD.require() / "rows.npy")
    return Examples(
        inputs=rows[:, :-1],
        targets=rows[:, -1].astype(np.int64),
        fingerprint=DOWNLOAD.fingerprint,
        class_names=("malignant", "benign"),
        feature_names=FEATURES,
    )


def unpack(archives: Sequence[Path], folder: Path) -> None:
    """Write `rows.npy` (569, 31) float64: the measures and the class id."""
    import numpy as np

    rows = np.loadtxt(io.BytesIO(data_file(archives[0], "breast_cancer.csv")), delimiter=",", skiprows=1)
    if rows.shape != (569, 31):
        raise DataError(f"{archives[0]} holds a table of shape {rows.shape}, not (569, 31)")
    np.save(folder / "rows.npy", rows)


DOWNLOAD = Download(
    name="breast_cancer",
    version="1.7.2",
    summary="569 tumours by 30 measures, malignant or benign (Wolberg et al. 1995)",
    licence="CC BY 4.0, UCI machine learning repository; the collection is BSD 3-Clause, scikit-learn",
    archives=(ARCHIVE,),
    unpack=unpack,
)
