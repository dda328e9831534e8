from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hvdtrain.launch.checks import CHECKS, Finding, examine
from hvdtrain.launch.facts import Facts
from hvdtrain.launched import usable_cores

GOOD = Facts(
    python=(3, 11, 7),
    executable="/venv/bin/python",
    torch="2.13.0+cpu",
    horovod="0.28.1",
    built={"gloo": True, "mpi": True, "nccl": False},
    horovodrun="/venv/bin/horovodrun",
    mpirun="mpirun (Open MPI) 4.1.4",
    ssh="/usr/bin/ssh",
    processor="A CPU",
    cores=8,
    logical=8,
    memory_gb=32.0,
    free_memory_gb=20.0,
    shm_gb=16.0,
    interfaces={"lo": "127.0.0.1", "eth0": "10.0.0.7"},
    host="node7",
    host_address="10.0.0.7",
    free_disk_gb=100.0,
)


def finding(what: str, **planted: Any) -> Finding:
    (found,) = (one for one in examine(replace(GOOD, **planted)) if one.what == what)
    return found


def test_a_good_machine_is_ok_throughout() -> None:
    assert {one.state for one in examine(GOOD)} == {"ok"}
    assert all(not one.remedy for one in examine(GOOD))


BAD = [
    ("Python", {"python": (3, 9, 2)}, "bad", "3.10 or newer", "scripts/install"),
    (
        "Python",
        {"python": (3, 12, 0), "setuptools": False},
        "bad",
        "setuptools",
        "/venv/bin/python -m pip install setuptools",
    ),
    ("PyTorch", {"torch": None}, "bad", "not installed", "scripts/install"),
    ("PyTorch", {"torch_error": "ImportError: libfoo"}, "bad", "libfoo", "scripts/install"),
    ("Horovod", {"horovod": None}, "bad", "not installed", "scripts/install"),
    ("Horovod", {"horovod_error": "undefined symbol"}, "bad", "undefined symbol", "scripts/install"),
    ("Horovod", {"built": {"gloo": True, "elastic": False}}, "warn", "as it was released", "scripts/install"),
    ("controller", {"built": {"gloo": False, "mpi": False}}, "bad", "neither Gloo nor MPI", "cmake"),
    ("controller", {"mpirun": None}, "warn", "no mpirun", "openmpi-bin"),
    ("horovodrun", {"horovodrun": None}, "bad", "not found", "scripts/install"),
    ("horovodrun", {"horovodrun": "/usr/bin/horovodrun"}, "warn", "another Python", "scripts/install"),
    ("GPU", {"nvidia_smi": ("GPU 0: H100",)}, "warn", "sees none", "CUDA build"),
    ("GPU", {"gpus": ("H100", "H100"), "gpu_gb": (80.0, 80.0)}, "warn", "no NCCL", "HOROVOD_GPU_OPERATIONS=NCCL"),
    ("cores", {"variables": {"OMP_NUM_THREADS": "64"}}, "warn", "OMP_NUM_THREADS=64", "unset OMP_NUM_THREADS"),
    ("cores", {"cores": 1}, "warn", "share one core", ""),
    ("memory", {"free_memory_gb": 0.5}, "warn", "0.5 GB free", "-np 1"),
    ("shared memory", {"shm_gb": 0.064}, "warn", "64 MB", "--shm-size=1g"),
    (
        "host name",
        {"host_address": "127.0.1.1"},
        "warn",
        "127.0.1.1",
        "put the line '10.0.0.7 node7' first in /etc/hosts",
    ),
    ("host name", {"host_address": None}, "warn", "None", "10.0.0.7 node7"),
    ("ssh", {"ssh": None}, "warn", "other hosts", "openssh-client"),
    ("engine", {"variables": {"HOROVOD_TIMELINE": "t.json"}}, "warn", "takes a core", "unset HOROVOD_TIMELINE"),
    ("engine", {"variables": {"HOROVOD_FUSION_THRESHOLD": "32"}}, "warn", "bytes", "HOROVOD_FUSION_THRESHOLD=33554432"),
    ("secrets", {"variables": {"WANDB_API_KEY": "x"}}, "warn", "WANDB_API_KEY", "unset WANDB_API_KEY"),
    ("disk", {"directory_writable": False}, "warn", "can't be written", "output_dir"),
    ("disk", {"free_disk_gb": 0.2}, "warn", "0.2 GB", "output_dir"),
]


@pytest.mark.parametrize(("what", "planted", "state", "found", "remedy"), BAD)
def test_each_planted_fault_is_found_with_what_mends_it(
    what: str, planted: dict[str, Any], state: str, found: str, remedy: str
) -> None:
    one = finding(what, **planted)
    assert one.state == state
    assert found in one.found
    assert remedy in one.remedy


def test_every_check_is_tried_with_a_fault_but_the_informative_one() -> None:
    names = {check.__name__ for check in CHECKS} - {"network"}
    tried = {what.lower().replace(" ", "_") for what, *_ in BAD}
    assert names == {{"pytorch": "torch", "horovodrun": "launcher"}.get(name, name) for name in tried}


def test_no_secret_is_shown_only_its_name() -> None:
    assert "hunter2" not in str(finding("secrets", variables={"MY_PASSWORD": "hunter2"}))


def test_a_machine_without_network_needs_no_better_name() -> None:
    assert finding("host name", host_address="127.0.0.1", interfaces={"lo": "127.0.0.1"}).state == "ok"


def test_gpus_with_nccl_are_fine() -> None:
    assert finding("GPU", gpus=("H100",) * 2, gpu_gb=(80.0,) * 2, built={"gloo": True, "nccl": True}).state == "ok"


def test_without_horovod_nothing_else_is_said_of_it() -> None:
    names = {one.what for one in examine(replace(GOOD, horovod=None, built={}, horovodrun=None))}
    assert not names & {"controller", "horovodrun", "shared memory"}


@pytest.mark.parametrize(
    ("text", "cores"), [("200000 100000", 2), ("50000 100000", 1), ("max 100000", None), ("", None)]
)
def test_the_quota_of_a_container_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, cores: int | None
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(16)))
    (tmp_path / "cpu.max").write_text(text)
    assert usable_cores(cgroup=tmp_path / "cpu.max") == (cores or 16)
