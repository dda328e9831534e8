from __future__ import annotations

import argparse
import io
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from hvdtrain.errors import UserError
from hvdtrain.launch import scripts
from hvdtrain.launch.command import Launch
from hvdtrain.launch.hosts import Host, parse_hosts
from hvdtrain.launch.scripts import Resources, engine_variables

RESOURCES = Resources("gpt shakespeare/1", cores=3)
ODD = ("data.paths=[a b]", "name=it's")
TRAIN = ["-m", "hvdtrain", "train", "gpt", *ODD, "--resume", "auto"]


def job(workers: int = 4, **values: Any) -> Launch:
    return Launch("gpt", workers, ODD, **values)


def submit(script: str, folder: Path, **variables: str) -> dict[str, Any]:
    """Run a batch script as Slurm would on its first host, with a stub of what it calls.

    Returns:
        `line`, the command that it became, and `environment`, that command's.
    """
    for name in ("srun", "python"):
        stub = folder / name
        stub.write_text('#!/bin/bash\nprintf "%s\\0" "${0##*/}" "$@" > line\nenv -0 > environment\n')
        stub.chmod(0o755)
    (folder / "scontrol").write_text('#!/bin/bash\n[ "$*" = "show hostnames n[1-3]" ] && printf "n1\\nn2\\nn3\\n"\n')
    (folder / "scontrol").chmod(0o755)
    (folder / "job").write_text(script)
    assert subprocess.run(["bash", "-n", folder / "job"], check=False).returncode == 0
    path = f"{folder}:{os.environ['PATH']}"
    subprocess.run(["bash", folder / "job"], cwd=folder, env={"PATH": path} | variables, check=True)
    environment = [item.partition("=") for item in (folder / "environment").read_text().split("\0") if item]
    return {
        "line": (folder / "line").read_text().split("\0")[:-1],
        "environment": {name: value for name, _, value in environment},
    }


def directives(script: str) -> dict[str, str]:
    found = re.findall(r"^#SBATCH --([\w-]+)(?:=(.*))?$", script, re.MULTILINE)
    assert len(found) == len(dict(found))
    return dict(found)


def test_the_horovodrun_command_is_quoted_for_a_shell() -> None:
    line = scripts.horovodrun(job(hosts=parse_hosts("a:2,b:2"), controller="gloo"), "/bin/horovodrun")
    assert shlex.split(line) == ["/bin/horovodrun", "-np", "4", "-H", "a:2,b:2", "--gloo", sys.executable, *TRAIN]


def test_slurm_starts_the_workers_itself(tmp_path: Path) -> None:
    given = {"cycle_time_ms": 5.0, "fusion_threshold_mb": 16, "network_interfaces": "ib0,ib1"}
    script = scripts.slurm(job(flags=given), RESOURCES, python="python")
    asked = directives(script)
    assert (asked["ntasks"], asked["cpus-per-task"], asked["job-name"]) == ("4", "3", "gpt-shakespeare-1")
    assert asked["signal"] == "TERM@120"
    assert not {"nodes", "ntasks-per-node", "gpus-per-task"} & set(asked)
    ran = submit(script, tmp_path)
    split = ran["line"].index("python")
    assert ran["line"][:split] == ["srun", "--mpi=pmix", "--cpus-per-task=3", "--kill-on-bad-exit=1"]
    assert ran["line"][split + 1 :] == TRAIN
    wanted = {"HOROVOD_CYCLE_TIME": "5.0", "HOROVOD_FUSION_THRESHOLD": str(16 * 1024 * 1024)}
    wanted |= {"OMPI_MCA_btl_tcp_if_include": "ib0,ib1", "NCCL_SOCKET_IFNAME": "ib0,ib1"}
    assert wanted.items() <= ran["environment"].items()


def test_hosts_say_how_the_workers_are_spread() -> None:
    asked = directives(scripts.slurm(job(hosts=parse_hosts("x:2,y:2")), RESOURCES))
    assert (asked["nodes"], asked["ntasks-per-node"]) == ("2", "2")


@pytest.mark.parametrize("hosts", ["a:3,b:1", "a:4,b:4"])
@pytest.mark.parametrize("kind", [scripts.slurm, scripts.mpijob])
def test_hosts_of_different_sizes_are_left_to_the_scheduler(hosts: str, kind: Any) -> None:
    with pytest.raises(UserError, match="hosts with equal slots"):
        kind(job(hosts=parse_hosts(hosts)), RESOURCES)


def test_each_worker_sees_all_gpus_of_its_host() -> None:
    """It takes the one of its local rank, which is not there where Slurm shows it a single one."""
    script = scripts.slurm(job(), Resources("x", gpus=True))
    assert directives(script)["gpus-per-task"] == "1"
    assert "--gpu-bind=none" in script


@pytest.mark.parametrize(
    ("tasks", "hosts"),
    [
        ("2(x3)", "n1:2,n2:2,n3:2"),
        ("4,1(x2)", "n1:4,n2:1,n3:1"),
        ("1,2,3", "n1:1,n2:2,n3:3"),
        ("12(x2),7", "n1:12,n2:12,n3:7"),
    ],
)
def test_gloo_on_slurm_gets_the_hosts_of_the_allocation(tmp_path: Path, tasks: str, hosts: str) -> None:
    script = scripts.slurm(job(controller="gloo", flags={"network_interfaces": "ib0"}), RESOURCES, python="python")
    assert directives(script)["signal"] == "B:TERM@120"
    ran = submit(script, tmp_path, SLURM_TASKS_PER_NODE=tasks, SLURM_JOB_NODELIST="n[1-3]")["line"]
    assert ran[:7] == ["python", "-m", "hvdtrain", "launch", "-np", "4", "--gloo"]
    assert ran[ran.index("-H") + 1] == hosts
    assert {"--network-interfaces=ib0", "--plain", "--stop-timeout=110"} <= set(ran)
    assert ran[-5:] == ["gpt", *ODD, "--resume", "auto"]


def test_an_elastic_job_is_not_for_srun() -> None:
    script = scripts.slurm(job(flags={"min_np": 2}), RESOURCES, python="python")
    assert "srun" not in script
    assert "--min-np=2" in script


@pytest.mark.parametrize(
    "given", [{"ssh_port": 22}, {"binding_args": "x"}, {"output_filename": "x"}, {"verbose": True}]
)
def test_a_flag_that_srun_can_not_heed_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=f"--{next(iter(given)).replace('_', '-')}: has no meaning where srun"):
        scripts.slurm(job(flags=given), RESOURCES)


def test_flags_become_the_variables_that_horovodrun_makes_of_them() -> None:
    parser = pytest.importorskip("horovod.runner.common.util.config_parser")
    given = {
        "fusion_threshold_mb": 7, "cycle_time_ms": 2.5, "cache_capacity": 9, "hierarchical_allreduce": True,
        "hierarchical_allgather": True, "torus_allreduce": True, "autotune": True, "autotune_log_file": "log",
        "timeline_filename": "t.json", "timeline_mark_cycles": True, "no_stall_check": True, "num_nccl_streams": 2,
        "stall_check_warning_time_seconds": 3, "stall_check_shutdown_time_seconds": 4, "mpi_threads_disable": True,
        "thread_affinity": 1, "gloo_timeout_seconds": 5, "log_level": "INFO",
    }  # fmt: skip
    others = ["warmup_samples", "steps_per_sample", "bayes_opt_max_samples", "gaussian_process_noise"]
    more = dict.fromkeys([f"autotune_{name}" for name in others] + ["log_with_timestamp"])
    theirs = parser.set_env_from_args({}, argparse.Namespace(**given, **more, tcp_flag=True))
    assert engine_variables(given | {"tcp": True}) == {name: str(value) for name, value in theirs.items()}
    assert engine_variables({"hierarchical_allreduce": False, "cycle_time_ms": None}) == {}


def manifest(launch: Launch, resources: Resources = RESOURCES) -> dict[str, Any]:
    text = scripts.mpijob(launch, resources)
    assert text.startswith("#")
    content: dict[str, Any] = YAML(typ="safe").load(io.StringIO(text))
    return content


def container(content: dict[str, Any], role: str) -> dict[str, Any]:
    (found,) = content["spec"]["mpiReplicaSpecs"][role]["template"]["spec"]["containers"]
    return dict(found)


def test_an_mpijob_starts_launch_on_one_pod_and_sshd_on_the_others() -> None:
    content = manifest(job(hosts=(Host("x", 2), Host("y", 2)), controller="gloo", flags={"cycle_time_ms": 5.0}))
    assert (content["apiVersion"], content["kind"]) == ("kubeflow.org/v2beta1", "MPIJob")
    assert content["metadata"]["name"] == "gpt-shakespeare-1"
    replicas = content["spec"]["mpiReplicaSpecs"]
    assert (content["spec"]["slotsPerWorker"], replicas["Launcher"]["replicas"], replicas["Worker"]["replicas"]) == (
        2,
        1,
        2,
    )
    launcher, worker = container(content, "Launcher"), container(content, "Worker")
    assert launcher["command"] == [
        "hvdtrain", "launch", "-np", "4", "--hostfile", "/etc/mpi/hostfile", "--gloo", "--cycle-time-ms=5.0", "--plain",
        "--stop-timeout=110", "gpt", *ODD, "--resume", "auto",
    ]  # fmt: skip
    assert worker["command"][:2] == ["/usr/sbin/sshd", "-De"]
    assert worker["resources"]["limits"] == {"cpu": 6}
    assert worker["readinessProbe"]["tcpSocket"]["port"] == 22
    assert worker["image"] == launcher["image"] == scripts.IMAGE
    names = {volume["name"] for volume in replicas["Worker"]["template"]["spec"]["volumes"]}
    assert {mount["name"] for mount in worker["volumeMounts"]} == names


def test_a_pod_is_one_worker_unless_hosts_say_otherwise_and_has_a_gpu_for_each() -> None:
    content = manifest(job(), Resources("x", cores=2, gpus=True))
    assert content["spec"]["slotsPerWorker"] == 1
    assert content["spec"]["mpiReplicaSpecs"]["Worker"]["replicas"] == 4
    assert container(content, "Worker")["resources"]["limits"] == {"cpu": 2, "nvidia.com/gpu": 1}
    paired = manifest(job(hosts=parse_hosts("a:2,b:2")), Resources("x", gpus=True))
    assert container(paired, "Worker")["resources"]["limits"]["nvidia.com/gpu"] == 2


def test_mpi_in_pods_accepts_their_host_keys() -> None:
    (told,) = [
        one for one in container(manifest(job(flags={"mpi_args": "--x y"})), "Launcher")["command"] if "mpi-args" in one
    ]
    assert told.startswith("--mpi-args=--x y -mca plm_rsh_args ")
    assert "StrictHostKeyChecking=no" in shlex.split(told)[-1]


def test_what_the_pod_runs_is_what_launch_understands(monkeypatch: pytest.MonkeyPatch) -> None:
    import typer
    from typer.testing import CliRunner

    from hvdtrain.cli import launch

    found: list[Launch] = []
    monkeypatch.setattr(launch, "_run", lambda request, *_: found.append(request) or 0)
    monkeypatch.setattr(launch, "_hosts", lambda text, file: (Host("pod", 4),))
    app = typer.Typer()
    app.command("launch", context_settings=launch.CONTEXT)(launch.launch)
    app.command("other")(lambda: None)
    given = {"cycle_time_ms": 5.0, "blacklist_cooldown_range": (60, 300)}
    command = container(manifest(job(controller="gloo", flags=given)), "Launcher")["command"]
    assert CliRunner().invoke(app, command[1:]).exit_code == 0
    (asked,) = found
    assert (asked.recipe, asked.overrides, asked.workers, asked.controller) == ("gpt", ODD, 4, "gloo")
    assert {name: value for name, value in asked.flags.items() if value is not None} == given


@pytest.mark.parametrize(
    ("text", "name"), [("GPT_124M run", "gpt-124m-run"), ("1st", "run-1st"), ("x" * 50, "x" * 40), ("--", "run")]
)
def test_names_are_made_such_that_kubernetes_takes_them(text: str, name: str) -> None:
    assert scripts.dns_name(text) == name
