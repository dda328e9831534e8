"""What a partition makes of a data set: neighbours, whole shards, uneven classes; and what it refuses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from hvdtrain.data.loader import make_loader
from hvdtrain.data.partitions import _equal_shares, contiguous, dirichlet, random, shard, stratified
from hvdtrain.errors import DataError, RecipeError
from hvdtrain.registry import config_class, names

FOUR = np.arange(4).repeat(10)


@dataclass(frozen=True)
class Samples:
    """A data set that is looked at and never read."""

    count: int
    labels: np.ndarray | None = None
    shards: np.ndarray | None = None

    def __len__(self) -> int:
        return self.count


def labelled(labels: Any) -> Any:
    return Samples(len(labels), labels=np.asarray(labels, dtype=np.int64))


def sharded(shards: Any) -> Any:
    return Samples(len(shards), shards=np.asarray(shards, dtype=np.int64))


def deal(data: Any, config: Any, size: int, batch: int) -> None:
    make_loader(
        data, config, rank=0, size=size, seed=3, global_batch_size=batch, micro_batch_size=2, epochs=2, numbered=True
    )


@pytest.mark.parametrize("size", [2, 3, 16])
def test_a_large_data_set_is_dealt_equally_too(size: int) -> None:
    """Rows that hold the same classes are dealt in circles; small data sets have few of them."""
    labels = np.random.default_rng(0).choice(7, 20_000, p=[0.4, 0.3, 0.1, 0.1, 0.05, 0.04, 0.01])
    order = stratified.build(stratified.Config(), labelled(labels), 1, size).order(0)
    dealt = _equal_shares.deal(labels[order], 1, size)
    for label in range(7):
        assert np.ptp(np.bincount(dealt[labels[order] == label], minlength=size)) <= 1
    whole_rows = dealt[size - 1 :][: len(dealt) // size * size - size].reshape(-1, size)
    assert (np.sort(whole_rows, axis=1) == np.arange(size)).all()


def test_stratified_is_shuffled_anew_each_epoch_and_with_each_seed() -> None:
    order = stratified.build(stratified.Config(), labelled(FOUR), 1, 2)
    other = stratified.build(stratified.Config(), labelled(FOUR), 2, 2)
    orders = [order.order(0), order.order(1), other.order(0)]
    assert len({tuple(found.tolist()) for found in orders}) == 3
    classes = {tuple(FOUR[found].tolist()) for found in orders}
    assert len(classes) == 3, "also which classes are neighbours"
    assert len({tuple(found[FOUR[found] == 0].tolist()) for found in orders}) == 3, "and the samples of a class"
    assert order.order(1).tolist() == order.order(1).tolist()


def test_contiguous_parts_are_neighbours() -> None:
    parts = contiguous.build(contiguous.Config(), Samples(10), 0, 3).indices
    assert [part.tolist() for part in parts] == [[0, 1, 2, 3], [4, 5, 6], [7, 8, 9]]


def test_shards_stay_whole_and_the_largest_are_dealt_first() -> None:
    """Sizes 7, 6, 5, 4, 3, by hand: 7 and 4 and then 3 to the one part, 6 and 5 to the other."""
    shards = np.repeat([30, 10, 20, 50, 40], [7, 6, 5, 4, 3])
    scattered = shards[np.random.default_rng(0).permutation(25)]
    parts = shard.build(shard.Config(), sharded(scattered), 0, 2).indices
    assert [sorted(set(scattered[part].tolist())) for part in parts] == [[30, 40, 50], [10, 20]]
    assert sorted(len(part) for part in parts) == [11, 14]


def test_dirichlet_parts_are_equally_large_and_as_unequal_as_alpha_says() -> None:
    labels = np.arange(10).repeat(300)

    def distance(alpha: float) -> float:
        shares = []
        for seed in range(5):
            parts = dirichlet.build(dirichlet.Config(alpha=alpha), labelled(labels), seed, 5).indices
            assert [len(part) for part in parts] == [600] * 5
            shares += [np.bincount(labels[part], minlength=10) / 600 for part in parts]
        return float(np.abs(np.array(shares) - 0.1).sum(1).mean() / 2)

    distances = [distance(alpha) for alpha in (0.1, 1.0, 10.0, 1e6)]
    assert distances == sorted(distances, reverse=True)
    assert distances[0] > 0.4
    assert 0.02 < distances[-1] < 0.06  # 600 draws of 10 classes: 10 * 0.8 * sqrt(0.09 / 600) / 2 = 0.049 is expected


@pytest.mark.parametrize("alpha", [0.05, 1.0, 20.0])
def test_dirichlet_shares_have_the_moments_of_the_distribution(alpha: float) -> None:
    """Mean p and variance p (1 - p) / (alpha + 1), for concentration alpha p."""
    whole = np.array([0.5, 0.3, 0.2])
    draws = dirichlet._draw_shares(np.random.RandomState(1), alpha * whole, 20_000)
    assert draws.sum(1) == pytest.approx(np.ones(20_000))
    expected = whole * (1 - whole) / (alpha + 1)
    assert draws.mean(0) == pytest.approx(whole, abs=5 * np.sqrt(expected.max() / 20_000))
    assert draws.var(0) == pytest.approx(expected, rel=0.05)


def test_a_tiny_alpha_gives_one_class_each_as_far_as_it_lasts() -> None:
    draws = dirichlet._draw_shares(np.random.RandomState(1), np.full(4, 1e-9), 50)
    assert (draws.max(1) == 1).all()
    labels = np.arange(4).repeat(25)
    parts = dirichlet.build(dirichlet.Config(alpha=1e-9), labelled(labels), 0, 4).indices
    assert sorted(np.concatenate(parts).tolist()) == list(range(100))


def test_dirichlet_parts_are_those_that_earlier_versions_made() -> None:
    parts = dirichlet.build(dirichlet.Config(alpha=0.5), labelled([0, 1, 2] * 4), 1234, 2).indices
    assert [part.tolist() for part in parts] == DRAWN


DRAWN = [[0, 1, 5, 7, 9, 10], [2, 3, 4, 6, 8, 11]]


def test_dirichlet_depends_on_seed_and_number_of_parts_alone() -> None:
    data = labelled(FOUR)
    one = dirichlet.build(dirichlet.Config(), data, 1, 4).indices
    again = dirichlet.build(dirichlet.Config(parts=4), data, 1, 2).indices
    other = dirichlet.build(dirichlet.Config(), data, 2, 4).indices
    assert [part.tolist() for part in one] == [part.tolist() for part in again] != [part.tolist() for part in other]


def test_which_partitions_depend_on_the_number_of_workers() -> None:
    depends = {name: config_class("partitions", name).depends_on_workers for name in names("partitions")}  # type: ignore[attr-defined]
    assert depends == {"random": False, "stratified": False, "contiguous": True, "shard": True, "dirichlet": True}


@pytest.mark.parametrize("config", [stratified.Config(), dirichlet.Config()], ids=lambda config: config.name)
def test_dealing_by_class_needs_classes(config: Any) -> None:
    with pytest.raises(DataError, match=rf"data.partition = {config.name}: .*none.*use partition {{name: random}}"):
        deal(Samples(10), config, 2, 4)


def test_dealing_files_needs_as_many_as_workers() -> None:
    with pytest.raises(DataError, match=r"data.partition = shard: .*which file.*use partition {name: contiguous}"):
        deal(Samples(10), shard.Config(), 2, 4)
    with pytest.raises(DataError, match=r"from 2 files or shards, and there are 3 parts.*at most 2"):
        deal(sharded([0, 0, 5, 5]), shard.Config(), 3, 3)
    with pytest.raises(DataError, match=r"from 1 file or shard, "):
        deal(sharded([5, 5]), shard.Config(), 2, 2)


@pytest.mark.parametrize(
    "config",
    [contiguous.Config(parts=4), shard.Config(parts=4), dirichlet.Config(parts=4)],
    ids=lambda config: config.name,
)
def test_workers_must_share_the_parts_equally(config: Any) -> None:
    data = Samples(40, labels=FOUR, shards=FOUR)
    with pytest.raises(RecipeError, match=r"data.partition.parts = 4: 3 workers .* use 1, 2, 4 workers, or .*parts=3"):
        deal(data, config, 3, 12)
    with pytest.raises(RecipeError, match=r"parts = 4: 8 workers"):
        deal(data, config, 8, 8)
    with pytest.raises(RecipeError, match=r"train.global_batch_size = 6: 4 parts .* train.global_batch_size=4"):
        deal(data, config, 2, 6)


def test_there_must_be_a_sample_for_each_part() -> None:
    with pytest.raises(
        DataError, match=r"contiguous: 3 training .* into 4 parts, one for each worker; use at most 3 w"
    ):
        deal(Samples(3), contiguous.Config(), 4, 4)


def test_a_number_of_parts_set_by_hand_is_not_blamed_on_the_workers() -> None:
    with pytest.raises(DataError, match=r"into 4 parts \(data.partition.parts\); use at most 3, or") as caught:
        deal(Samples(3), contiguous.Config(parts=4), 1, 4)
    assert "worker" not in str(caught.value)
    with pytest.raises(DataError, match=r"3 parts to fill \(data.partition.parts\); use at most 2, give") as caught:
        deal(sharded([0, 0, 5, 5]), shard.Config(parts=3), 1, 3)
    assert "worker" not in str(caught.value)


@pytest.mark.parametrize(
    ("config", "wrong"),
    [(contiguous.Config, {"parts": 0}), (dirichlet.Config, {"alpha": 0.0}), (random.Config, {"parts": 2})],
)
def test_configs_refuse_what_makes_no_sense(config: Any, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        config(**wrong)
