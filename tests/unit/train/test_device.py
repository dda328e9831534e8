"""The device of a worker, and the threads of workers on their host's cores."""

from __future__ import annotations

import json
import os
import socket
import weakref
from types import SimpleNamespace
from typing import ClassVar

import psutil
import pytest
import torch

from hvdtrain.errors import SetupError
from hvdtrain.train import device
from hvdtrain.world import Solo


class Workers(Solo):
    """A world whose workers are all like this one, on hosts of these names."""

    def __init__(self, hosts: list[str]) -> None:
        self.size = len(hosts)
        self._hosts = hosts

    def gather(self, value):
        rest = json.loads(json.dumps(value))[1:]
        return [[name, *rest] for name in self._hosts]


@pytest.fixture
def four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3})
    monkeypatch.setattr(device, "usable_cores", lambda bound: bound)


@pytest.mark.usefixtures("four_cores")
def test_threads_that_fit_are_not_worth_a_word() -> None:
    assert device.crowding(2, Workers(["a", "a", "b", "b"])) == ()
    assert device.crowding(8, Workers([socket.gethostname()])) == (), "one worker's own choice"


@pytest.mark.usefixtures("four_cores")
def test_each_host_with_more_threads_than_cores_is_named() -> None:
    [note] = device.crowding(2, Workers(["a", "a", "a", "b", "b"]))
    assert note.startswith("3 workers with 6 threads take turns on 4 cores of a:")


def test_a_model_that_is_larger_than_the_machine_is_refused_before_it_takes_memory() -> None:
    """As a recipe from a stranger may name one: the kernel would promise the memory, and kill for it later."""
    with pytest.raises(
        SetupError, match=r"model huge can't be built here: its parameters take 40,000 GB, and this machine"
    ):
        device.build_within_memory("huge", lambda: torch.nn.Linear(100_000, 100_000_000, bias=False))


def test_a_large_model_is_looked_at_before_it_is_filled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A layer of 4 x 4 takes 80 bytes. Of 1,600 a sixteenth, 100, are not worth a look; 240 do fit, 1,680 do not."""
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=1600))
    filled: list[str] = []
    monkeypatch.setattr(torch.nn.init, "kaiming_uniform_", lambda tensor, **options: filled.append(tensor.device.type))

    def built(layers: int) -> list[str]:
        filled.clear()
        model = device.build_within_memory(
            "deep", lambda: torch.nn.Sequential(*(torch.nn.Linear(4, 4) for _ in range(layers)))
        )
        assert len(model) == layers  # type: ignore[arg-type]
        return filled

    assert built(1) == ["cpu"]
    assert built(3) == ["cpu", *3 * ["meta"], *3 * ["cpu"]]
    with pytest.raises(SetupError, match="its parameters take"):
        built(21)
    assert filled == ["cpu", *21 * ["meta"]]


class Layer(torch.nn.Module):
    """A million numbers, 4 MB, and a note of how many layers there are while it is made."""

    alive: ClassVar[list[int]] = []
    there: ClassVar[weakref.WeakSet[Layer]] = weakref.WeakSet()

    def __init__(self) -> None:
        super().__init__()
        self.there.add(self)
        self.alive.append(len(self.there))
        self.filled = torch.utils.deterministic.fill_uninitialized_memory
        self.weight = torch.nn.Parameter(torch.empty(1_000_000))


def test_what_was_begun_is_gone_before_a_large_model_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=16 * 6_000_000))
    Layer.alive.clear()
    device.build_within_memory("deep", lambda: torch.nn.Sequential(Layer(), Layer()))
    assert Layer.alive == [1, 2, 1, 2, 1, 2], "begun, without memory, and for good"


def test_deterministic_mode_fills_no_memory_of_a_model_that_may_be_too_large() -> None:
    """torch fills what is not initialised then, which would take the memory before it can be counted."""
    torch.use_deterministic_algorithms(True)
    try:
        assert torch.utils.deterministic.fill_uninitialized_memory
        assert not device.build_within_memory("small", Layer).filled
        assert torch.utils.deterministic.fill_uninitialized_memory
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> list[torch.device]:
    """A host with two GPUs, as far as a machine without any can have them; the value is which were made current."""
    current: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 1000 + device.index)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU {device.index}")
    return current


def test_a_worker_has_the_gpu_of_its_local_rank(two_gpus: list[torch.device]) -> None:
    chosen = device.choose(1)
    assert chosen == torch.device("cuda", 1)
    assert two_gpus == [chosen]
    assert (device.describe(chosen), device.memory_bytes(chosen)) == ("GPU 1", 1001)


@pytest.mark.usefixtures("two_gpus")
def test_more_workers_than_gpus_are_refused() -> None:
    with pytest.raises(SetupError, match=r"worker 2 of this host has no GPU: there are 2; .*CUDA_VISIBLE_DEVICES="):
        device.choose(2)


def test_without_a_gpu_it_is_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device.choose(3) == torch.device("cpu")
