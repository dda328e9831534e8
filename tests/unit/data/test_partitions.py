"""What partitions deal: exactly once, equal shares, parts that stay, and one process that repeats n."""

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

from hvdtrain.data.loader import Loader, make_loader
from hvdtrain.data.partitions import contiguous, dirichlet, random, shard, stratified
from hvdtrain.errors import CheckpointError

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


def test_stratified_deals_labels_of_any_numbers() -> None:
    """Of a shrunken data set some classes may be missing."""
    dealt = run(workers(labelled([7] * 6 + [1000] * 6), stratified.Config(), 3, 3, epochs=1))
    assert np.bincount(dealt.column("worker")[dealt.column("sample") < 6]).tolist() == [2, 2, 2]


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


def test_a_worker_of_several_parts_takes_neighbours() -> None:
    dealt = run(workers(Samples(40), contiguous.Config(parts=4), 2, 8, epochs=1))
    assert sorted(dealt.of(worker=0).column("sample")) == list(range(20))


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


@pytest.mark.parametrize("config", [random.Config(), contiguous.Config()], ids=lambda config: config.name)
def test_a_run_that_is_past_the_epochs_it_was_given_has_nothing_left(config: Any) -> None:
    stopped = workers(Samples(41), config, 2, 8, epochs=4)
    run(stopped, 15)
    for loader in workers(Samples(41), config, 2, 8, epochs=1):
        loader.load_state_dict(stopped[0].state_dict())
        assert loader.steps_left() == 0
        assert next(loader, None) is None
