"""Loading: nothing lost, nothing twice, one order for any number of workers, and a resume that changes nothing."""

from __future__ import annotations

import json
import math
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hvdtrain.data.loader import Loader, evaluation_batches, make_loader
from hvdtrain.data.partitions import contiguous
from hvdtrain.data.partitions.random import Config, build
from hvdtrain.data.sequences import SequenceDataset
from hvdtrain.errors import CheckpointError

SEQUENCE = 3


def counted(samples: int) -> SequenceDataset:
    """A data set whose sample i begins with token 3i, so that a batch tells which samples it holds."""
    return SequenceDataset(np.arange(samples * SEQUENCE + 1, dtype=np.uint32), SEQUENCE)


def loader(samples: int = 50, *, epochs: int | None = None, config: Any = None, **changes: Any) -> Loader:
    options = {"seed": 1, "global_batch_size": 12, "micro_batch_size": 2, "rank": 0, "size": 1} | changes
    return make_loader(counted(samples), config or Config(), epochs=epochs, **options)


def ids(batches: list[dict[str, torch.Tensor]]) -> list[int]:
    return [int(row[0]) // SEQUENCE for batch in batches for row in batch["inputs"]]


def interleave(parts: list[list[int]]) -> list[int]:
    """Put the workers' samples back into the order in which they were dealt."""
    dealt = [0] * sum(map(len, parts))
    for rank, part in enumerate(parts):
        dealt[rank :: len(parts)] = part
    return dealt


@given(
    samples=st.integers(1, 60),
    size=st.integers(1, 7),
    micro=st.integers(1, 5),
    batch=st.integers(1, 70),
    epochs=st.integers(1, 3),
    seed=st.integers(0, 2**32 - 1),
)
@settings(deadline=None)
def test_every_sample_of_every_epoch_is_dealt_exactly_once(
    samples: int, size: int, micro: int, batch: int, epochs: int, seed: int
) -> None:
    options = {"seed": seed, "global_batch_size": batch, "micro_batch_size": micro, "size": size}
    workers = [loader(samples, epochs=epochs, rank=rank, **options) for rank in range(size)]
    dealt: list[int] = []
    expected = math.ceil(samples * epochs / batch)
    assert {worker.total_steps for worker in workers} == {expected}
    for done, updates in enumerate(islice(zip(*workers, strict=True), expected + 1)):
        for worker, batches in zip(workers, updates, strict=True):
            assert all(1 <= len(part["inputs"]) <= micro for part in batches)
            assert ids(batches) == worker.sample_ids.tolist()
        dealt += interleave([ids(batches) for batches in updates])
        assert {worker.position for worker in workers} == {len(dealt)}
        assert {worker.steps_left() for worker in workers} == {expected - done - 1}
    assert len(dealt) == samples * epochs
    for epoch in range(epochs):
        here = dealt[epoch * samples : (epoch + 1) * samples]
        assert here == build(Config(), counted(samples), seed, size).order(epoch).tolist()
        assert sorted(here) == list(range(samples))


@given(samples=st.integers(1, 40), sizes=st.sampled_from([(1, 2), (2, 3), (1, 6), (3, 4)]), updates=st.integers(1, 9))
@settings(deadline=None)
def test_a_global_batch_does_not_depend_on_the_number_of_workers(
    samples: int, sizes: tuple[int, int], updates: int
) -> None:
    def global_batches(size: int) -> list[list[int]]:
        workers = [loader(samples, rank=rank, size=size) for rank in range(size)]
        return [interleave([ids(next(worker)) for worker in workers]) for _ in range(updates)]

    assert global_batches(sizes[0]) == global_batches(sizes[1])


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    data = counted(100)
    first = build(Config(), data, 1, 2)
    assert first.order(0).tolist() == build(Config(), data, 1, 3).order(0).tolist()
    orders = [first.order(0), first.order(1), build(Config(), data, 2, 2).order(0), np.arange(100)]
    assert len({tuple(order.tolist()) for order in orders}) == len(orders)


def test_the_order_is_the_one_that_earlier_versions_dealt() -> None:
    assert build(Config(), counted(10), 1234, 1).order(0).tolist() == GOLDEN


GOLDEN = [8, 1, 6, 2, 0, 3, 5, 7, 4, 9]


@given(before=st.integers(0, 12), after=st.integers(1, 12), sizes=st.sampled_from([(1, 1), (2, 2), (1, 3), (3, 2)]))
@settings(deadline=None)
def test_a_resume_goes_on_as_if_nothing_had_happened(before: int, after: int, sizes: tuple[int, int]) -> None:
    whole = loader()
    expected = [ids(next(whole)) for _ in range(before + after)][before:]
    stopped = loader(size=sizes[0])
    for _ in range(before):
        next(stopped)
    state = json.loads(json.dumps(stopped.state_dict()))
    resumed = [loader(rank=rank, size=sizes[1]) for rank in range(sizes[1])]
    for worker in resumed:
        worker.load_state_dict(state)
    assert [interleave([ids(next(worker)) for worker in resumed]) for _ in range(after)] == expected


def test_a_resume_may_change_the_batch_and_counts_anew_what_is_left() -> None:
    first = loader(50, epochs=2, global_batch_size=12)
    next(first)
    second = loader(50, epochs=2, global_batch_size=5)
    assert second.total_steps == 20
    second.load_state_dict(first.state_dict())
    assert second.steps_left() == 18  # 88 samples of 100, five at a time
    assert ids(next(second)) == ids(next(first))[:5]
    assert second.steps_left() == len(list(second)) == 17


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (loader(51), "samples was 51 and is 50"),
        (loader(seed=2), "seed was 2 and is 1"),
        (loader(config=contiguous.Config()), "partition was {'name': 'contiguous'} and is {'name': 'random'}"),
    ],
)
def test_a_state_of_other_data_is_refused(other: Loader, named: str) -> None:
    with pytest.raises(CheckpointError, match=named):
        loader().load_state_dict(other.state_dict())


def test_a_state_that_earlier_versions_wrote_is_still_good() -> None:
    resumed = loader()
    resumed.load_state_dict({"position": 24, "seed": 1, "samples": 50, "partition": {"name": "random"}})
    assert resumed.position == 24


def test_the_last_batch_may_leave_workers_without_samples() -> None:
    workers = [loader(13, epochs=1, rank=rank, size=3) for rank in range(3)]
    first, last = [[next(worker) for worker in workers] for _ in range(2)]
    assert [len(batches) for batches in first] == [2, 2, 2]
    assert [len(ids(batches)) for batches in last] == [1, 0, 0]
    for worker in workers:
        with pytest.raises(StopIteration):
            next(worker)


def test_without_epochs_there_is_no_end() -> None:
    endless = loader(5)
    assert endless.total_steps is endless.steps_left() is None
    assert len(list(islice(endless, 100))) == 100


@given(samples=st.integers(1, 30), size=st.sampled_from([1, 2, 3, 4, 6]), updates=st.integers(1, 6))
@settings(deadline=None)
def test_numbers_count_all_samples_dealt_in_a_run_whoever_gets_them(samples: int, size: int, updates: int) -> None:
    workers = [loader(samples, rank=rank, size=size, numbered=True) for rank in range(size)]
    found: dict[int, int] = {}
    for _ in range(updates):
        for worker in workers:
            for batch in next(worker):
                assert batch["number"].dtype == torch.int64
                found |= dict(zip(batch["number"].tolist(), ids([batch]), strict=True))
    alone = loader(samples, numbered=False)
    expected = [sample for _ in range(updates) for sample in ids(next(alone))]
    assert [found[number] for number in range(len(found))] == expected


def test_batches_have_no_numbers_unless_they_are_wanted() -> None:
    assert "number" not in next(loader())[0]
    assert "number" not in next(evaluation_batches(counted(3), 0, 1, 2, None))


@given(
    samples=st.integers(1, 40),
    size=st.integers(1, 7),
    batch=st.integers(1, 9),
    limit=st.none() | st.integers(1, 60),
)
@settings(deadline=None)
def test_an_evaluation_sees_each_of_its_samples_once_and_they_are_spread_evenly(
    samples: int, size: int, batch: int, limit: int | None
) -> None:
    data = counted(samples)
    shares = [list(evaluation_batches(data, rank, size, batch, limit, numbered=True)) for rank in range(size)]
    assert all(1 <= len(part["inputs"]) <= batch for parts in shares for part in parts)
    assert max(len(ids(parts)) for parts in shares) <= math.ceil(samples / size)
    seen = {
        n: i for parts in shares for part in parts for n, i in zip(part["number"].tolist(), ids([part]), strict=True)
    }
    count = min(samples, limit or samples)
    assert sum(len(ids(parts)) for parts in shares) == len(seen) == count
    chosen = [seen[number] for number in range(count)]
    assert len(set(chosen)) == count
    # One from each of `count` stretches that are equally long to one sample.
    assert all(
        number * samples / count - 1 < sample <= number * samples / count for number, sample in enumerate(chosen)
    )


def test_an_evaluation_of_sorted_data_sees_all_classes() -> None:
    chosen = [i for batch in evaluation_batches(counted(100), 0, 1, 8, 10) for i in ids([batch])]
    assert chosen == [0, 10, 20, 30, 40, 50, 60, 70, 80, 90]
