"""The S&P 500 index, 1999 to 2018: predict tomorrow's price range from what is known at today's close.

A day's range is log(high / low), a measure of its volatility (Parkinson 1980). What is learned is its logarithm: it is
close to normal where the range itself is skewed, so that the squared error is not that of a few wild days (Alizadeh,
Brandt and Diebold 2002, "Range-Based Estimation of Stochastic Volatility Models").

A sample is a day: the log ranges of the last days, their averages over 5 and 22 days (the heterogeneous autoregressive
model, HAR: Corsi 2009, "A Simple Approximate Long-Memory Model of Realized Volatility") and an exponential one, and the
last returns in per cent. Parts follow each other in time: training, validation, test.
"""

from __future__ import annotations

import gzip
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from hvdtrain.data._config import ExamplesConfig
from hvdtrain.data._download import Download, PypiArchive, read_members
from hvdtrain.errors import DataError

if TYPE_CHECKING:
    import numpy as np

    from hvdtrain.data.examples import Examples

MEMBER = re.compile(r"arch/data/sp500/sp500\.csv\.gz")
COLUMNS = ("High", "Low", "Close")
DAYS = 5031
WEEK, MONTH = 5, 22  # trading days
DECAY = 0.94  # of RiskMetrics, for daily data


class Config(ExamplesConfig):
    """Days of the S&P 500, as `hvdtrain data fetch sp500` put them into the cache.

    `lags` is how many last days' ranges and returns a sample has. The last `test_fraction` of the days is the test
    part, the `val_fraction` before it is for validation.
    """

    name: Literal["sp500"] = "sp500"
    lags: int = Field(5, ge=1, le=250)


def examples(config: Config) -> Examples:
    """Return the days' features (N, 2 lags + 3) and the next day's log range (N,); DataError if not fetched.

    `references` are R2 on the test part: of today's value, of the exponential average, and of HAR fitted by least
    squares to the training part.
    """
    import numpy as np

    from hvdtrain.data.examples import TEST, TRAIN, VAL, Examples

    names, features, targets = table(np.load(DOWNLOAD.require() / "prices.npy"), config.lags)
    held_out = [round(len(targets) * share) for share in (config.val_fraction, config.test_fraction)]
    parts = np.repeat(np.array([TRAIN, VAL, TEST], dtype=np.int8), (len(targets) - sum(held_out), *held_out))
    return Examples(
        inputs=features,
        targets=targets,
        fingerprint=f"{DOWNLOAD.fingerprint}-lags-{config.lags}",
        feature_names=names,
        parts=parts,
        references={"r2": _references(dict(zip(names, features.T, strict=True)), targets, parts)}
        if held_out[1]
        else {},
        notes=("days are split by time: the test part is the last one",),
    )


def table(prices: np.ndarray, lags: int) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """Return the names of the features, a row of them for each day, and the log range of the day after it.

    The first days lack a past and the last one lacks a morrow: they have no row.

    Args:
        prices: high, low and close of each day (days, 3).
        lags: how many last days a row tells of.
    """
    import numpy as np

    high, low, close = prices.T
    ranges = np.log(np.log(high / low))
    returns = 100 * np.diff(np.log(close), prepend=np.nan)
    days = np.arange(max(MONTH - 1, lags), len(prices) - 1)
    columns = {f"log range {lag} days ago": ranges[days - lag] for lag in range(lags)}
    columns |= {
        "weekly average": _trailing_mean(ranges, WEEK)[days],
        "monthly average": _trailing_mean(ranges, MONTH)[days],
        "exponential average": _exponential(ranges)[days],
    }
    columns |= {f"return {lag} days ago": returns[days - lag] for lag in range(lags)}
    return tuple(columns), np.column_stack(list(columns.values())), ranges[days + 1]


def _trailing_mean(values: np.ndarray, count: int) -> np.ndarray:
    """Return the mean of each value and the `count - 1` before it; NaN where there are fewer."""
    import numpy as np

    means = np.full(len(values), np.nan)
    means[count - 1 :] = np.lib.stride_tricks.sliding_window_view(values, count).mean(axis=1)
    return means


def _exponential(values: np.ndarray) -> np.ndarray:
    """Return a_t = 0.94 a_(t-1) + 0.06 v_t, which begins as the first value."""
    import numpy as np

    averages = [values[0]]
    for value in values[1:]:
        averages.append(DECAY * averages[-1] + (1 - DECAY) * value)
    return np.array(averages)


def _references(columns: dict[str, np.ndarray], targets: np.ndarray, parts: np.ndarray) -> dict[str, float]:
    import numpy as np

    from hvdtrain.data.examples import TEST, TRAIN

    today = columns["log range 0 days ago"]
    terms = np.column_stack([np.ones(len(targets)), today, columns["weekly average"], columns["monthly average"]])
    weights = np.linalg.lstsq(terms[parts == TRAIN], targets[parts == TRAIN], rcond=None)[0]
    predictions = {"last value": today, "exponential average": columns["exponential average"], "HAR": terms @ weights}
    wanted = targets[parts == TEST]
    spread = ((wanted - wanted.mean()) ** 2).sum()
    return {
        name: float(1 - ((wanted - values[parts == TEST]) ** 2).sum() / spread) for name, values in predictions.items()
    }


def unpack(archives: Sequence[Path], folder: Path) -> None:
    """Write `prices.npy` (5,031, 3) float64: high, low and close of each day, in order of time."""
    import numpy as np

    content = gzip.decompress(read_members(archives[0], MEMBER)["sp500.csv.gz"])
    header = content.partition(b"\n")[0].decode("ascii").strip().split(",")
    prices = np.loadtxt(
        io.BytesIO(content), delimiter=",", skiprows=1, usecols=[header.index(name) for name in COLUMNS]
    )
    if prices.shape != (DAYS, len(COLUMNS)) or not (prices[:, 0] > prices[:, 1]).all():
        raise DataError(f"{archives[0]} holds other prices than were expected, of shape {prices.shape}")
    np.save(folder / "prices.npy", prices)


DOWNLOAD = Download(
    name="sp500",
    version="8.0.0",
    summary="5,031 trading days of the S&P 500, 1999 to 2018: tomorrow's log price range",
    licence="NCSA, arch, which took the prices from Yahoo Finance",
    archives=(
        PypiArchive(
            "arch",
            "8.0.0",
            "13cbf04d45ecbee7578704a232f897cd02794d845f877158fb2838e6fb637887",
            "cp312-cp312-manylinux2014_x86_64.manylinux_2_17_x86_64.manylinux_2_28_x86_64",
        ),
    ),
    unpack=unpack,
)
