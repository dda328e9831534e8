"""Partitions keep their promises: exactly once, equal shares, parts that stay, and one process that repeats n."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from hvdtrain.data.loader import Loader, make_loader
from hvdtrain.data.partitions import _equal_shares, contiguous, dirichlet, random, shard, stratified
from hvdtrain.errors import CheckpointError, DataError, RecipeError
from hvdtrain.registry import config_class, names

FOUR = np.arange(4).repeat(10)


@dataclass(frozen=True)
class Samples:
    """A data set whose samples are their own index."""

    count: int
    labels: np.ndarray | None = None
    shards: np.ndarray | None = None

    @property
    def targets(self) -> int:
        return self.count

    def __len__(self) -> int:
        return self.count

    def batch(self, indices: np.ndarray) -> dict[str, torch.Tensor]:
        return {"inputs": torch.from_numpy(np.asarray(indices))}


def labelled(labels: Any) -> Samples:
    return Samples(len(labels), labels=np.asarray(labels, dtype=np.int64))


def sharded(shards: Any) -> Samples:
    return Samples(len(shards), shards=np.asarray(shards, dtype=np.int64))


def workers(data: Samples, config: Any, size: int, batch: int, **changes: Any) -> list[Loader]:
    options = {"seed": 3, "micro_batch_size": 2, "epochs": 2, "numbered": True} | changes
    return [make_loader(data, config, rank=rank, size=size, global_batch_size=batch, **options) for rank in range(size)]


@dataclass(frozen=True)
class Run:
    """What was dealt, one row a sample in the order of their numbers: (number, sample, worker, update)."""

    rows: np.ndarray
    updates: int

    def column(self, name: str) -> np.ndarray:
        return self.rows[:, ("number", "sample", "worker", "update").index(name)]

    def of(self, **wanted: int) -> Run:
        kept = np.all([self.column(name) == value for name, value in wanted.items()], axis=0)
        return Run(self.rows[kept], self.updates)

    def __len__(self) -> int:
        return len(self.rows)


def run(loaders: list[Loader], most: int | None = None) -> Run:
    """Deal to the end, or so many updates; all workers must end together, where they said they would."""
    total = loaders[0].steps_left() if most is None else most
    assert total is not None
    rows: list[tuple[int, int, int, int]] = []
    for update in range(total):
        for rank, loader in enumerate(loaders):
            for batch in next(loader):
                pairs = zip(batch["number"].tolist(), batch["inputs"].tolist(), strict=True)
                rows += [(number, sample, rank, update) for number, sample in pairs]
        assert {loader.position for loader in loaders} == {loaders[0].position}
        if most is None:
            assert {loader.steps_left() for loader in loaders} == {total - update - 1}
    if most is None:
        assert [next(loader, None) for loader in loaders] == [None] * len(loaders)
    return Run(np.array(sorted(rows)).reshape(-1, 4), total)


def spread_of(counts: np.ndarray) -> int:
    return int(counts.max() - counts.min())


# One order, dealt out.

LABELS = st.lists(st.integers(0, 4), min_size=1, max_size=60)
SKEWED = st.lists(st.sampled_from([0] * 12 + [1, 1, 2]), min_size=1, max_size=80)


@given(
    labels=LABELS | SKEWED,
    size=st.integers(1, 8),
    share=st.integers(1, 4),
    epochs=st.integers(1, 3),
    seed=st.integers(0, 2**32),
)
@settings(deadline=None, max_examples=200)
def test_stratified_gives_all_workers_the_same_of_each_class_in_every_epoch(
    labels: list[int], size: int, share: int, epochs: int, seed: int
) -> None:
    count = len(labels)
    dealt = run(workers(labelled(labels), stratified.Config(), size, size * share, seed=seed, epochs=epochs))
    assert dealt.column("number").tolist() == list(range(count * epochs))
    for update in range(dealt.updates):
        assert spread_of(np.bincount(dealt.of(update=update).column("worker"), minlength=size)) <= 1
        assert update == dealt.updates - 1 or len(dealt.of(update=update)) == size * share
    for epoch in range(epochs):
        here = Run(dealt.rows[epoch * count : (epoch + 1) * count], 0)
        assert sorted(here.column("sample")) == list(range(count))
        classes = np.array(labels)[here.column("sample")]
        for label in set(labels):
            assert spread_of(np.bincount(here.column("worker")[classes == label], minlength=size)) <= 1


@given(labels=LABELS | SKEWED, batch=st.integers(1, 30), seed=st.integers(0, 2**32))
@settings(deadline=None, max_examples=200)
def test_stratified_gives_every_global_batch_its_share_of_each_class(labels: list[int], batch: int, seed: int) -> None:
    dealt = run(workers(labelled(labels), stratified.Config(), 1, batch, seed=seed))
    classes = np.array(labels)[dealt.column("sample")]
    for label in set(labels):
        share = labels.count(label) / len(labels)
        places = np.arange(1, 2 * len(labels) + 1)
        assert (np.abs(np.cumsum(classes == label) - share * places) < 1 - 1e-9).all()
        for update in range(dealt.updates):
            own = classes[dealt.column("update") == update]
            assert abs(int((own == label).sum()) - share * len(own)) < 2 - 1e-9


@given(labels=LABELS, sizes=st.sampled_from([(1, 2), (2, 3), (1, 6), (3, 4), (4, 6)]), seed=st.integers(0, 2**32))
@settings(deadline=None)
def test_a_stratified_batch_does_not_depend_on_the_number_of_workers(
    labels: list[int], sizes: tuple[int, int], seed: int
) -> None:
    one, other = (run(workers(labelled(labels), stratified.Config(), n, 12, seed=seed)) for n in sizes)
    assert np.delete(one.rows, 2, 1).tolist() == np.delete(other.rows, 2, 1).tolist()


@given(before=st.integers(0, 20), size=st.sampled_from([2, 3, 4]), seed=st.integers(0, 99))
@settings(deadline=None)
def test_a_stratified_run_resumes_with_the_same_workers_for_the_same_samples(before: int, size: int, seed: int) -> None:
    data = labelled([0, 1, 1, 2, 2, 2, 2, 0, 1, 1, 1])
    whole = run(workers(data, stratified.Config(), size, 12, epochs=None, seed=seed), before + 5)
    stopped = workers(data, stratified.Config(), size, 12, epochs=None, seed=seed)
    run(stopped, before)
    resumed = workers(data, stratified.Config(), size, 12, epochs=None, seed=seed)
    for loader in resumed:
        loader.load_state_dict(json.loads(json.dumps(stopped[0].state_dict())))
    assert run(resumed, 5).rows[:, :3].tolist() == whole.rows[before * 12 :, :3].tolist()


def test_a_stratified_run_goes_on_with_other_workers_and_another_batch() -> None:
    """From a position that is no multiple of the workers: no worker may get more than its share."""
    data = labelled([0] * 31 + [1] * 20)
    stopped = workers(data, stratified.Config(), 2, 4)
    first = run(stopped, 2)
    resumed = workers(data, stratified.Config(), 3, 9)
    for loader in resumed:
        loader.load_state_dict(stopped[0].state_dict())
    rest = run(resumed)
    for update in range(rest.updates - 1):
        assert np.bincount(rest.of(update=update).column("worker")).tolist() == [3, 3, 3]
    samples = [*first.column("sample"), *rest.column("sample")]
    assert sorted(samples[:51]) == sorted(samples[51:]) == list(range(51))


def test_stratified_is_shuffled_anew_each_epoch_and_with_each_seed() -> None:
    order = stratified.build(stratified.Config(), labelled(FOUR), 1, 2)
    other = stratified.build(stratified.Config(), labelled(FOUR), 2, 2)
    orders = [order.order(0), order.order(1), other.order(0)]
    assert len({tuple(found.tolist()) for found in orders}) == 3
    classes = {tuple(FOUR[found].tolist()) for found in orders}
    assert len(classes) == 3, "also which classes are neighbours"
    assert len({tuple(found[FOUR[found] == 0].tolist()) for found in orders}) == 3, "and the samples of a class"
    assert order.order(1).tolist() == order.order(1).tolist()


def test_stratified_deals_labels_of_any_numbers() -> None:
    """Of a shrunken data set some classes may be missing."""
    dealt = run(workers(labelled([7] * 6 + [1000] * 6), stratified.Config(), 3, 3, epochs=1))
    assert np.bincount(dealt.column("worker")[dealt.column("sample") < 6]).tolist() == [2, 2, 2]


@pytest.mark.parametrize("size", [2, 3, 16])
def test_a_large_data_set_is_dealt_equally_too(size: int) -> None:
    """Rows that hold the same classes are dealt in circles; small data sets have few of them."""
    labels = np.random.default_rng(0).choice(7, 20_000, p=[0.4, 0.3, 0.1, 0.1, 0.05, 0.04, 0.01])
    order = stratified.build(stratified.Config(), labelled(labels), 1, size).order(0)
    dealt = _equal_shares.deal(labels[order], 1, size)
    for label in range(7):
        assert spread_of(np.bincount(dealt[labels[order] == label], minlength=size)) <= 1
    whole_rows = dealt[size - 1 :][: len(dealt) // size * size - size].reshape(-1, size)
    assert (np.sort(whole_rows, axis=1) == np.arange(size)).all()


# Parts that workers keep.

CUTS = {"contiguous": contiguous.Config, "shard": shard.Config, "dirichlet": dirichlet.Config}


@st.composite
def cut(draw: Callable[..., Any]) -> tuple[Samples, Any, int, int, int, int]:
    """A data set, a partition, a number of workers, of parts, and of samples of a part in a batch, and a seed."""
    size = draw(st.integers(1, 4))
    parts = size * draw(st.integers(1, 3))
    count = draw(st.integers(parts, 70))
    labels = draw(st.lists(st.integers(0, 3), min_size=count, max_size=count))
    shards = [*range(parts), *draw(st.lists(st.integers(0, parts + 2), min_size=count - parts, max_size=count - parts))]
    changes: dict[str, Any] = {} if parts == size and draw(st.booleans()) else {"parts": parts}
    name = draw(st.sampled_from(sorted(CUTS)))
    if name == "dirichlet":
        changes["alpha"] = draw(st.sampled_from([1e-6, 0.1, 1.0, 100.0]))
    data = Samples(count, labels=np.array(labels), shards=np.array(shards))
    return data, CUTS[name](**changes), size, parts, draw(st.integers(1, 5)), draw(st.integers(0, 2**32))


@given(cut())
@settings(deadline=None, max_examples=200)
def test_workers_keep_their_parts_and_deal_every_sample_once_an_epoch(case: tuple[Any, ...]) -> None:
    data, config, size, parts, share, seed = case
    dealt = run(workers(data, config, size, parts * share, seed=seed, epochs=3))
    assert dealt.column("number").tolist() == list(range(3 * len(data)))
    owners = np.full(len(data), -1)
    for epoch in range(3):
        here = Run(dealt.rows[epoch * len(data) : (epoch + 1) * len(data)], 0)
        assert sorted(here.column("sample")) == list(range(len(data)))
        if epoch:
            assert (owners[here.column("sample")] == here.column("worker")).all()
        owners[here.column("sample")] = here.column("worker")
        assert len(set(here.column("update"))) * 3 == dealt.updates, "batches do not span epochs"
    for update in range(dealt.updates):
        sizes = np.bincount(dealt.of(update=update).column("worker"), minlength=size)
        assert sizes.max() <= parts * share // size
        assert sizes.sum() >= 1


@given(cut())
@settings(deadline=None, max_examples=100)
def test_one_process_repeats_what_n_workers_compute(case: tuple[Any, ...]) -> None:
    data, config, size, parts, share, seed = case
    together = run(workers(data, config, size, parts * share, seed=seed))
    alone = run(workers(data, config.model_copy(update={"parts": parts}), 1, parts * share, seed=seed))
    assert np.delete(alone.rows, 2, 1).tolist() == np.delete(together.rows, 2, 1).tolist()


@given(cut())
@settings(deadline=None, max_examples=100)
def test_every_batch_is_made_up_as_the_data_are(case: tuple[Any, ...]) -> None:
    """Each batch takes an equal fraction of every part, to one sample: no part runs out before another."""
    data, config, _, parts, share, seed = case
    dealt = run(workers(data, config.model_copy(update={"parts": None}), parts, parts * share, seed=seed, epochs=1))
    largest = max(len(dealt.of(worker=part)) for part in range(parts))
    assert dealt.updates == -(-largest // share)
    for part in range(parts):
        own = dealt.of(worker=part)
        counts = np.bincount(own.column("update"), minlength=dealt.updates)
        assert spread_of(counts) <= 1
        assert (np.abs(np.cumsum(counts) - len(own) * np.arange(1, dealt.updates + 1) / dealt.updates) < 1).all()


def test_parts_are_shuffled_anew_each_epoch_and_with_each_seed() -> None:
    data = labelled(FOUR)
    orders = []
    for seed in (1, 2):
        dealt = run(workers(data, contiguous.Config(), 2, 4, seed=seed))
        orders += [dealt.rows[:40][:, 1].tolist(), dealt.rows[40:][:, 1].tolist()]
    assert len({tuple(order) for order in orders}) == 4
    own = run(workers(data, contiguous.Config(), 2, 4)).of(worker=0).column("sample")
    assert own[:20].tolist() != sorted(own[:20].tolist())


def test_contiguous_parts_are_neighbours() -> None:
    parts = contiguous.build(contiguous.Config(), Samples(10), 0, 3).indices
    assert [part.tolist() for part in parts] == [[0, 1, 2, 3], [4, 5, 6], [7, 8, 9]]


def test_a_worker_of_several_parts_takes_neighbours() -> None:
    dealt = run(workers(Samples(40), contiguous.Config(parts=4), 2, 8, epochs=1))
    assert sorted(dealt.of(worker=0).column("sample")) == list(range(20))


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


# What is refused, and what a checkpoint may change.


def test_which_partitions_depend_on_the_number_of_workers() -> None:
    depends = {name: config_class("partitions", name).depends_on_workers for name in names("partitions")}  # type: ignore[attr-defined]
    assert depends == {"random": False, "stratified": False, "contiguous": True, "shard": True, "dirichlet": True}


@pytest.mark.parametrize("config", [stratified.Config(), dirichlet.Config()], ids=lambda config: config.name)
def test_dealing_by_class_needs_classes(config: Any) -> None:
    with pytest.raises(DataError, match=rf"data.partition = {config.name}: .*none.*use partition {{name: random}}"):
        workers(Samples(10), config, 2, 4)


def test_dealing_files_needs_as_many_as_workers() -> None:
    with pytest.raises(DataError, match=r"data.partition = shard: .*which file.*use partition {name: contiguous}"):
        workers(Samples(10), shard.Config(), 2, 4)
    with pytest.raises(DataError, match=r"from 2 files or shards, and there are 3 parts.*at most 2"):
        workers(sharded([0, 0, 5, 5]), shard.Config(), 3, 3)
    with pytest.raises(DataError, match=r"from 1 file or shard, "):
        workers(sharded([5, 5]), shard.Config(), 2, 2)


@pytest.mark.parametrize("config", [c(parts=4) for c in CUTS.values()], ids=lambda config: config.name)
def test_workers_must_share_the_parts_equally(config: Any) -> None:
    data = Samples(40, labels=FOUR, shards=FOUR)
    with pytest.raises(RecipeError, match=r"data.partition.parts = 4: 3 workers .* use 1, 2, 4 workers, or .*parts=3"):
        workers(data, config, 3, 12)
    with pytest.raises(RecipeError, match=r"parts = 4: 8 workers"):
        workers(data, config, 8, 8)
    with pytest.raises(RecipeError, match=r"train.global_batch_size = 6: 4 parts .* train.global_batch_size=4"):
        workers(data, config, 2, 6)


def test_there_must_be_a_sample_for_each_part() -> None:
    with pytest.raises(DataError, match=r"contiguous: 3 training samples can't be cut into 4 parts"):
        workers(Samples(3), contiguous.Config(), 4, 4)


@pytest.mark.parametrize(
    ("config", "wrong"),
    [(contiguous.Config, {"parts": 0}), (dirichlet.Config, {"alpha": 0.0}), (random.Config, {"parts": 2})],
)
def test_configs_refuse_what_makes_no_sense(config: Any, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        config(**wrong)


def test_parts_resume_with_other_workers_if_the_parts_stay() -> None:
    data = Samples(41)
    whole = run(workers(data, contiguous.Config(parts=4), 4, 8))
    stopped = workers(data, contiguous.Config(), 4, 8)
    run(stopped, 4)
    state = json.loads(json.dumps(stopped[0].state_dict()))
    resumed = workers(data, contiguous.Config(parts=4), 2, 8)
    for loader in resumed:
        loader.load_state_dict(state)
    rest = run(resumed)
    assert rest.rows[:, :2].tolist() == whole.rows[int(state["position"]) :, :2].tolist()


@pytest.mark.parametrize(
    ("config", "size", "batch", "message"),
    [
        (contiguous.Config(), 2, 8, r"was cut into 4 parts and is cut into 2 now.*4 workers.*data.partition.parts=4"),
        (contiguous.Config(), 4, 16, r"global_batch_size was 8 and is 16 now; resume with the batch"),
        (random.Config(), 4, 8, r"partition was {'name': 'contiguous'} and is {'name': 'random'} now"),
    ],
)
def test_a_place_in_other_parts_is_refused(config: Any, size: int, batch: int, message: str) -> None:
    state = workers(Samples(41), contiguous.Config(), 4, 8)[0].state_dict()
    with pytest.raises(CheckpointError, match=message):
        workers(Samples(41), config, size, batch)[0].load_state_dict(state)
