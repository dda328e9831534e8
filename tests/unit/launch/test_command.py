from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hvdtrain.errors import SetupError, UserError
from hvdtrain.launch import command, flags
from hvdtrain.launch.command import Launch
from hvdtrain.launch.hosts import Host

WORKER = ["py", "-m", "hvdtrain", "train", "gpt", "optimizer.lr=1e-3", "--resume", "auto"]


def line(**values: Any) -> list[str]:
    return command.horovodrun(["hr"], Launch("gpt", 2, ("optimizer.lr=1e-3",), **values), python="py")


def test_the_plainest_command() -> None:
    assert line() == ["hr", "-np", "2", *WORKER]


def test_everything_is_spelled_as_horovodrun_spells_it() -> None:
    given = {"cycle_time_ms": 5.0, "fusion_threshold_mb": 0, "ssh_port": 22, "blacklist_cooldown_range": (60, 300)}
    given |= {"hierarchical_allreduce": True, "verbose": False, "mpi_args": "--map-by ppr:6:node", "min_np": None}
    made = line(hosts=(Host("a", 1), Host("b", 3)), controller="gloo", flags=given)
    assert made == [
        "hr", "-np", "2", "-H", "a:1,b:3", "--gloo", "--ssh-port=22", "--mpi-args=--map-by ppr:6:node",
        "--fusion-threshold-mb=0", "--cycle-time-ms=5.0", "--hierarchical-allreduce",
        "--blacklist-cooldown-range", "60", "300", *WORKER,
    ]  # fmt: skip


def test_resume_is_passed_on() -> None:
    assert line(resume="runs/x/checkpoints/step-5")[-2:] == ["--resume", "runs/x/checkpoints/step-5"]


def test_numbers_are_not_negative() -> None:
    with pytest.raises(UserError, match="--cycle-time-ms = -1"):
        line(flags={"cycle_time_ms": -1.0})


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"workers": 0}, "at least one"),
        ({"workers": 3, "hosts": (Host("a", 2),)}, "the hosts have 2 slots.*use -np 2"),
        ({"flags": {"min_np": 3}}, "--min-np 3"),
        ({"flags": {"min_np": 0}}, "--min-np 0"),
        ({"flags": {"max_np": 1}}, "--max-np 1"),
        ({"flags": {"min_np": 1}, "controller": "mpi"}, "elastic runs need Gloo"),
        ({"flags": {"host_discovery_script": "x"}, "controller": "mpi"}, "elastic runs need Gloo"),
        ({"workers": 1, "flags": {"output_filename": "x"}}, "crashes"),
    ],
)
def test_contradictions_are_told_before_anything_starts(values: dict[str, Any], problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        command.check(Launch(**{"recipe": "gpt", "workers": 2} | values))


@pytest.mark.parametrize("values", [{}, {"hosts": (Host("a", 2),)}, {"flags": {"min_np": 1, "max_np": 4}}])
def test_what_is_fine_passes(values: dict[str, Any]) -> None:
    request = Launch(**{"recipe": "gpt", "workers": 2} | values)
    command.check(request)
    assert command.horovodrun(["horovodrun"], request)[1:3] == ["-np", "2"]


def test_the_horovodrun_of_this_python_goes_before_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("here", "path"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "horovodrun").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    assert command.find_horovodrun(str(tmp_path / "here" / "python")) == str(tmp_path / "here" / "horovodrun")
    assert command.find_horovodrun(str(tmp_path / "none" / "python")) == str(tmp_path / "path" / "horovodrun")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SetupError, match="scripts/install"):
        command.find_horovodrun(str(tmp_path / "none" / "python"))


@pytest.mark.skipif(not (Path(sys.executable).parent / "horovodrun").exists(), reason="Horovod is not installed")
def test_horovodrun_knows_every_flag_that_is_passed_on() -> None:
    help_text = subprocess.run(
        [command.find_horovodrun(), "--help"],
        capture_output=True,
        text=True,
        env=os.environ | {"COLUMNS": "200"},
        check=True,
    ).stdout
    missing = [
        flag.name for flag in flags.FLAGS if f"{flag.name} " not in help_text.replace(",", " ").replace("]", " ")
    ]
    assert missing == []


def test_no_flag_is_there_twice() -> None:
    names = [name for flag in flags.FLAGS for name in (flag.name, flag.short) if name]
    assert len(names) == len(set(names))
