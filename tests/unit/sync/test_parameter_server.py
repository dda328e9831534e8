"""Who serves and who trains, what is refused before a start, and what a server's loader and buffers are."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from hvdtrain.cli.launch import _validate
from hvdtrain.data.loader import make_loader
from hvdtrain.data.partitions.random import Config as RandomPartition
from hvdtrain.data.sequences import SequenceDataset
from hvdtrain.errors import RecipeError
from hvdtrain.launch.command import Launch
from hvdtrain.metrics.records import EndRecord
from hvdtrain.recipe import load
from hvdtrain.report.history import History
from hvdtrain.report.summary import plain_summary
from hvdtrain.sync._config import check_workers, training_workers
from hvdtrain.sync.parameter_server import Config
from hvdtrain.tasks._ppo import PPO
from hvdtrain.train.assemble import _check_workers, _loader
from hvdtrain.train.statistics import RunningStatistics

DEDICATED = ("sync.name=parameter_server", "sync.placement=dedicated")


def test_the_first_ranks_serve_beside_their_training_or_the_last_only_serve() -> None:
    colocated, dedicated = Config(servers=2), Config(servers=2, placement="dedicated")
    assert (list(colocated.serving(5)), colocated.training_workers(5)) == ([0, 1], 5)
    assert (list(dedicated.serving(5)), dedicated.training_workers(5)) == ([3, 4], 3)
    assert dedicated.notes(["a", "a", "b"]) == (
        "parameter servers: rank 1 on host a, rank 2 on host b, dedicated; 1 worker trains",
    )


def test_one_process_trains_alone_whatever_the_placement() -> None:
    dedicated = Config(placement="dedicated")
    assert training_workers(dedicated, 1) == 1
    check_workers(dedicated, 1, "")


@pytest.mark.parametrize(
    ("config", "size", "expected"),
    [
        (Config(servers=3), 2, "sync.servers = 3: there are 2 workers"),
        (Config(servers=2, placement="dedicated"), 2, "start at least 3 workers, or set sync.placement=colocated"),
    ],
)
def test_too_many_servers(config: Config, size: int, expected: str) -> None:
    with pytest.raises(RecipeError, match=expected):
        check_workers(config, size, "gloo")
    check_workers(config, size + 1, "gloo")


def test_launch_checks_servers_and_cuts_the_batch_among_those_who_train() -> None:
    recipe, fitting = "mlp-binary", ("train.global_batch_size=64", "train.micro_batch_size=32")
    _validate(Launch(recipe, 3, (*DEDICATED, *fitting)), starts=False)
    with pytest.raises(RecipeError, match="not a multiple of 96"):
        _validate(Launch(recipe, 3, ("sync.name=parameter_server", *fitting)), starts=False)
    with pytest.raises(RecipeError, match="leaves none to train"):
        _validate(Launch(recipe, 3, (*DEDICATED, "sync.servers=3", *fitting)), starts=False)


def test_batchnorm_over_workers_is_refused_with_dedicated_servers() -> None:
    recipe = load("resnet-fashion-mnist", [*DEDICATED, "train.sync_batchnorm=true"]).recipe
    with pytest.raises(RecipeError, match="dedicated servers have nothing to put through them"):
        _check_workers(recipe, SimpleNamespace(size=3, controller="gloo"))
    _check_workers(recipe, SimpleNamespace(size=1, controller=""))


def test_a_task_that_makes_its_own_samples_is_refused_with_dedicated_servers() -> None:
    recipe = load("ppo-cartpole", DEDICATED).recipe
    batch = SimpleNamespace(global_batch_size=8, micro_batch_size=4)
    with pytest.raises(RecipeError, match=r"task.name = ppo.*set sync.placement to colocated"):
        _loader(recipe, None, PPO.__new__(PPO), None, batch, SimpleNamespace(size=3, rank=2), torch.device("cpu"))


def test_a_server_keeps_the_place_in_the_data_and_reads_none_of_it() -> None:
    read: list[int] = []

    class Counted(SequenceDataset):
        def batch(self, samples):
            read.append(len(samples))
            return super().batch(samples)

    data = Counted(np.arange(61, dtype=np.uint32), 3)
    options = {"seed": 1, "global_batch_size": 8, "micro_batch_size": 2, "size": 2, "epochs": 1}
    server, worker = (make_loader(data, RandomPartition(), rank=rank, **options) for rank in (2, 0))
    assert [len(batches) for batches in server] == [0, 0, 0]
    assert not read
    assert sum(1 for _ in worker) == 3
    assert server.state_dict() == worker.state_dict()


def test_running_statistics_are_the_mean_of_those_who_train() -> None:
    class SummedWith:
        """The world of a rank beside which the others hand in nines, one of them each."""

        size = 3

        def __init__(self, rank: int, others: int) -> None:
            self.rank, self._others = rank, others

        def start_sum(self, values, name):
            return SimpleNamespace(wait=lambda: values + 9.0 * self._others)

    for rank, others, expected in ((2, 2, 9.0), (0, 1, (3.0 + 9.0) / 2)):
        model = torch.nn.BatchNorm1d(1)
        model.running_mean.fill_(3.0)
        statistics = RunningStatistics(model, SummedWith(rank, others), 2)
        with statistics.averaged():
            assert model.running_mean.item() == expected
            assert statistics.own_state(True)["2.running_mean"].item() == 3.0
        assert model.running_mean.item() == 3.0


@pytest.mark.parametrize(
    ("world", "servers", "handed", "expected"),
    [
        # S = 1 MB: two workers and a server; then four workers of which one serves too.
        (3, 1, 2_000_000, "an update for 2 workers; in a ring all-reduce every link 1 MB each way"),
        (4, 0, 1_500_000, "an update for 4 workers; in a ring all-reduce every link 1.5 MB each way"),
        (2, 1, 2_000_000, "an update for 1 worker\n"),
    ],
)
def test_the_summary_holds_the_servers_link_against_a_ring(
    world: int, servers: int, handed: int, expected: str
) -> None:
    history = History()
    history(
        EndRecord(
            step=1,
            reason="finished",
            world_size=world,
            servers=servers,
            allreduce_bytes=handed,
            server_bytes=(5_000_000, 6_000_000),
            tokens_per_second=100.0,
        )
    )
    told = plain_summary(history) + "\n"
    assert "5 MB in + 6 MB out" in told
    assert expected in told
    assert "all-reduce   " not in told
