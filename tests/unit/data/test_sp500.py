"""Days of the S&P 500: no row knows the future, parts follow in time, and references are plain least squares."""

from __future__ import annotations

import gzip
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from hvdtrain.data import cache
from hvdtrain.data.examples import TEST, TRAIN, VAL
from hvdtrain.data.sources import sp500
from hvdtrain.errors import DataError


def market(days: int = 120, seed: int = 0) -> np.ndarray:
    """High, low and close of made-up days."""
    source = np.random.default_rng(seed)
    close = 1000 * np.exp(np.cumsum(0.01 * source.normal(size=days)))
    return np.column_stack(
        [close * (1 + 0.02 * source.random(days)), close * (0.999 - 0.02 * source.random(days)), close]
    )


@pytest.mark.parametrize("lags", [1, 5, 30])
@pytest.mark.parametrize("today", [40, 77, 118])
def test_a_row_does_not_change_with_what_comes_after_its_day(lags: int, today: int) -> None:
    prices = market()
    changed = prices.copy()
    changed[today + 1 :] = market(seed=1)[today + 1 :] * 3
    first = max(21, lags)
    _, before, targets = sp500.table(prices, lags)
    _, after, new_targets = sp500.table(changed, lags)
    known = today - first + 1
    np.testing.assert_array_equal(before[:known], after[:known])
    np.testing.assert_array_equal(targets[: known - 1], new_targets[: known - 1])
    assert targets[known - 1] != new_targets[known - 1]  # that day's target is tomorrow, which did change


def test_a_row_has_what_its_names_say() -> None:
    prices = market()
    names, rows, targets = sp500.table(prices, 3)
    high, low, close = prices.T
    logs = np.log(np.log(high / low))
    day = 60
    row = dict(zip(names, rows[day - 21], strict=True))
    assert row["log range 0 days ago"] == logs[day]
    assert row["log range 2 days ago"] == logs[day - 2]
    assert row["weekly average"] == pytest.approx(sum(logs[day - 4 : day + 1]) / 5)
    assert row["monthly average"] == pytest.approx(sum(logs[day - 21 : day + 1]) / 22)
    assert row["return 0 days ago"] == pytest.approx(100 * np.log(close[day] / close[day - 1]))
    assert row["return 2 days ago"] == pytest.approx(100 * np.log(close[day - 2] / close[day - 3]))
    weights = [0.06 * 0.94**age for age in range(day)] + [0.94**day]
    assert row["exponential average"] == pytest.approx(np.dot(weights, logs[day::-1]))
    assert targets[day - 21] == logs[day + 1]
    assert rows.shape == (120 - 21 - 1, 2 * 3 + 3)
    assert np.isfinite(rows).all()
    assert len(set(names)) == len(names)


def put(prices: np.ndarray) -> None:
    def build(folder: Path) -> dict[str, str]:
        np.save(folder / "prices.npy", prices)
        return {}

    cache.ensure(sp500.DOWNLOAD.entry, build)


def test_parts_follow_each_other_in_time(empty_cache: Path) -> None:
    put(market(522))
    found = sp500.examples(sp500.Config(val_fraction=0.1, test_fraction=0.3))
    assert found.parts is not None
    assert found.parts.tolist() == [TRAIN] * 300 + [VAL] * 50 + [TEST] * 150
    none = sp500.examples(sp500.Config(val_fraction=0.1, test_fraction=0.0))
    assert none.parts is not None
    assert none.parts.tolist() == [TRAIN] * 450 + [VAL] * 50
    assert none.references == {}
    assert found.fingerprint != sp500.examples(sp500.Config(lags=6)).fingerprint


def test_har_is_fitted_to_the_training_part_alone(empty_cache: Path) -> None:
    """A test part of other laws changes what HAR is worth there, and a model that saw it would do better."""
    prices = np.concatenate([market(300), market(200, seed=2)])
    prices[300:, 0] *= np.linspace(1, 1.2, 200)
    put(prices)
    found = sp500.examples(sp500.Config(val_fraction=0.0, test_fraction=0.4))
    assert found.parts is not None
    rows, targets = np.asarray(found.inputs), np.asarray(found.targets)
    ones = np.ones((len(rows), 1))
    chosen = [found.feature_names.index(name) for name in ("log range 0 days ago", "weekly average", "monthly average")]
    terms = np.hstack([ones, rows[:, chosen]])
    train, test = found.parts == TRAIN, found.parts == TEST

    def r2(fitted_to: np.ndarray) -> float:
        weights = np.linalg.solve(terms[fitted_to].T @ terms[fitted_to], terms[fitted_to].T @ targets[fitted_to])
        return float(1 - np.mean((targets[test] - terms[test] @ weights) ** 2) / np.var(targets[test]))

    assert found.references["r2"]["HAR"] == pytest.approx(r2(train))
    assert found.references["r2"]["HAR"] < r2(train | test) - 0.01


def test_the_real_days(fetched: Callable[[str], ModuleType]) -> None:
    source = fetched("sp500")
    found = source.examples(source.Config())
    assert found.kind == "table"
    assert found.inputs.shape == (5031 - 22, 13)
    assert np.bincount(found.parts).tolist() == [3506, 501, 1002]
    marks = found.references["r2"]
    assert marks["last value"] < marks["exponential average"] < marks["HAR"]  # the order that the literature reports
    assert marks == pytest.approx({"last value": 0.286, "exponential average": 0.396, "HAR": 0.466}, abs=1e-3)
    # close to normal: the third moment of the log range is small, of the range it is not
    spread = (found.targets - found.targets.mean()) / found.targets.std()
    ranges = np.exp(found.targets)
    assert abs((spread**3).mean()) < 0.5 < 2 < (((ranges - ranges.mean()) / ranges.std()) ** 3).mean()


def test_an_archive_with_other_prices_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.whl"
    table = "Date,Open,High,Low,Close,Adj Close,Volume\n1/4/1999,1,2,1,2,2,5\n1/5/1999,1,2,1,2,2,5\n"
    with zipfile.ZipFile(path, "w") as whole:
        whole.writestr("arch/data/sp500/sp500.csv.gz", gzip.compress(table.encode()))
    with pytest.raises(DataError, match=r"a\.whl holds other prices than were expected, of shape \(2, 3\)"):
        sp500.unpack([path], tmp_path)
