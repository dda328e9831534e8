"""What `launch --print` writes instead of running: a horovodrun command, a Slurm batch script, a Kubernetes MPIJob.

Pure functions: text from a job. The schedulers learn how many workers there are, and on how many hosts where -H tells;
which hosts is for them to choose.
"""

from __future__ import annotations

import io
import re
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hvdtrain.errors import UserError
from hvdtrain.launch import command, flags
from hvdtrain.launch.command import Launch

IMAGE = "hvdtrain-ssh:latest"
_HOSTFILE = "/etc/mpi/hostfile"
_GRACE = 120
_SSH_ARGUMENTS = "-o ConnectionAttempts=10 -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"


@dataclass(frozen=True)
class Resources:
    """What a scheduler is asked for: the job's name, cores a worker, a GPU for each worker, and the container image."""

    name: str
    cores: int = 1
    gpus: bool = False
    image: str = IMAGE


def horovodrun(launch: Launch, program: str) -> str:
    """Return the horovodrun command that `launch` would run, quoted for a shell."""
    return shlex.join(command.horovodrun([program], launch)) + "\n"


def slurm(launch: Launch, resources: Resources, python: str = sys.executable) -> str:
    """Return a script for sbatch.

    Slurm starts the workers itself (srun, PMIx) unless the job asks for Gloo or is elastic, neither of which srun can
    start: then `hvdtrain launch` starts them over ssh.

    Raises:
        UserError: a flag has no meaning under srun, or hosts have different numbers of slots.
    """
    by_ssh = launch.controller == "gloo" or launch.elastic
    shape = _slots(launch, "--print slurm")
    lines = ["#!/bin/bash", *_sbatch(launch, resources, shape, by_ssh), "set -euo pipefail", ""]
    lines += _through_ssh(launch, python) if by_ssh else _through_srun(launch, resources, python)
    return "\n".join(lines) + "\n"


def _sbatch(launch: Launch, resources: Resources, shape: tuple[int, int] | None, by_ssh: bool) -> list[str]:
    options = [
        "--job-name=" + re.sub(r"[^\w.-]+", "-", resources.name),
        f"--ntasks={launch.workers}",
        *([f"--nodes={shape[0]}", f"--ntasks-per-node={shape[1]}"] if shape else []),
        f"--cpus-per-task={resources.cores}",
        *(["--gpus-per-task=1"] if resources.gpus else []),
        "--output=%x-%j.log",
        "--open-mode=append",
        "--requeue",
        f"--signal={'B:' if by_ssh else ''}TERM@{_GRACE}",
    ]
    return [
        "# Submit it with: sbatch FILE. Add what your cluster asks for: --partition, --account, --time.",
        f"# {_GRACE} s before the time is up the workers save a checkpoint; submitted again, the run goes on from it.",
        *(f"#SBATCH {option}" for option in options),
    ]


def _through_srun(launch: Launch, resources: Resources, python: str) -> list[str]:
    line = ["srun", "--mpi=pmix", f"--cpus-per-task={resources.cores}", "--kill-on-bad-exit=1"]
    if resources.gpus:
        # A worker chooses the GPU of its number on the host, so it must see all of the host's.
        line.append("--gpu-bind=none")
    exports = [f"export {name}={shlex.quote(value)}" for name, value in engine_variables(launch.flags).items()]
    return [
        "# 'srun --mpi=list' must name pmix; Horovod and Slurm must have been built with MPI and PMIx.",
        *exports,
        f"exec {shlex.join([*line, python, '-m', 'hvdtrain', *_train(launch)])}",
    ]


def _through_ssh(launch: Launch, python: str) -> list[str]:
    line = [python, "-m", "hvdtrain", "launch", "-np", str(launch.workers), *(["--gloo"] if launch.controller else [])]
    rest = [*flags.arguments(launch.flags), "--plain", f"--stop-timeout={_GRACE - 10}", *_recipe(launch)]
    return [
        "# The hosts of this allocation and how many workers each takes, as NAME:N,NAME:N. They must let ssh in.",
        "counts=()",
        'for part in ${SLURM_TASKS_PER_NODE//,/ }; do  # "4(x2),3" is 4 on two hosts and 3 on another',
        "    times=1",
        '    if [[ $part == *x* ]]; then times=${part#*x}; times=${times%")"}; fi',
        '    for ((i = 0; i < times; i++)); do counts+=("${part%%"("*}"); done',
        "done",
        "hosts=",
        "i=0",
        'for name in $(scontrol show hostnames "$SLURM_JOB_NODELIST"); do',
        '    hosts+="${hosts:+,}$name:${counts[i]}"',
        "    i=$((i + 1))",
        "done",
        f'exec {shlex.join(line)} -H "$hosts" {shlex.join(rest)}',
    ]


def mpijob(launch: Launch, resources: Resources) -> str:
    """Return a manifest for the MPI operator of Kubeflow, API kubeflow.org/v2beta1.

    Raises:
        UserError: hosts have different numbers of slots: a worker pod is like the other.
    """
    pods, slots = _slots(launch, "--print mpijob") or (launch.workers, 1)
    per_pod: dict[str, Any] = {"cpu": resources.cores * slots}
    if resources.gpus:
        per_pod["nvidia.com/gpu"] = slots
    controller = [f"--{launch.controller}"] if launch.controller else []
    given = dict(launch.flags)
    if launch.controller != "gloo" and not launch.elastic:
        given["mpi_args"] = " ".join(filter(None, [given.get("mpi_args"), f'-mca plm_rsh_args "{_SSH_ARGUMENTS}"']))
    start = ["hvdtrain", "launch", "-np", str(launch.workers), *([] if launch.elastic else ["--hostfile", _HOSTFILE])]
    started = [*start, *controller, *flags.arguments(given), "--plain", f"--stop-timeout={_GRACE - 10}"]
    sshd = ["/usr/sbin/sshd", "-De", "-o", "StrictModes=no", "-o", "PermitRootLogin=prohibit-password"]
    return _manifest(
        {
            "apiVersion": "kubeflow.org/v2beta1",
            "kind": "MPIJob",
            "metadata": {"name": dns_name(resources.name)},
            "spec": {
                "slotsPerWorker": slots,
                "launcherCreationPolicy": "WaitForWorkersReady",
                "runPolicy": {"cleanPodPolicy": "Running", "backoffLimit": 3},
                "mpiReplicaSpecs": {
                    "Launcher": _replicas(
                        1, "launcher", resources, [*started, *_recipe(launch)], {"cpu": 1}, ready=False
                    ),
                    "Worker": _replicas(pods, "worker", resources, sshd, per_pod, ready=True),
                },
            },
        }
    )


def _replicas(
    count: int, role: str, resources: Resources, run: list[str], limits: Mapping[str, Any], *, ready: bool
) -> dict[str, Any]:
    mounts = [{"name": "work", "mountPath": "/work"}, {"name": "memory", "mountPath": "/dev/shm"}]
    container: dict[str, Any] = {
        "name": role,
        "image": resources.image,
        "command": run,
        "workingDir": "/work",
        "securityContext": {"runAsUser": 0},
        "resources": {"limits": dict(limits)},
        "volumeMounts": mounts,
    }
    if ready:
        container["readinessProbe"] = {"tcpSocket": {"port": 22}, "initialDelaySeconds": 2}
    volumes = [
        {"name": "work", "persistentVolumeClaim": {"claimName": "hvdtrain-work"}},
        {"name": "memory", "emptyDir": {"medium": "Memory"}},
    ]
    spec = {"terminationGracePeriodSeconds": _GRACE, "containers": [container], "volumes": volumes}
    # Istio's sidecar would stand between the workers.
    annotations = {"sidecar.istio.io/inject": "false"}
    return {
        "replicas": count,
        "restartPolicy": "Never",
        "template": {"metadata": {"annotations": annotations}, "spec": spec},
    }


def _manifest(content: Mapping[str, Any]) -> str:
    from ruamel.yaml import YAML

    stream = io.StringIO(
        "# Apply it with: kubectl apply -f FILE. Change before: the image, which needs hvdtrain and an ssh server\n"
        "# (docs/clusters.md), and the claim, a volume that all pods can write: recipes, data and runs lie there.\n"
    )
    stream.seek(0, io.SEEK_END)
    yaml = YAML()
    yaml.width = 10_000
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.dump(content, stream)
    return stream.getvalue()


def dns_name(text: str) -> str:
    """Return a name that Kubernetes takes: small letters, digits and dashes, at most 40, a letter first."""
    name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40].strip("-")
    return name if name[:1].isalpha() else f"run-{name}".strip("-")


def _slots(launch: Launch, what: str) -> tuple[int, int] | None:
    """How many hosts, and workers on each, where -H says it; the last hosts may have more slots than workers."""
    if not launch.hosts:
        return None
    numbers = {host.slots for host in launch.hosts}
    if len(numbers) > 1 or launch.workers != sum(host.slots for host in launch.hosts):
        raise UserError(
            f"-H {','.join(map(str, launch.hosts))}: {what} takes hosts with equal slots, which -np "
            f"{launch.workers} fills; leave out -H, and the scheduler chooses"
        )
    return len(launch.hosts), numbers.pop()


def _train(launch: Launch) -> list[str]:
    return ["train", *_recipe(launch)]


def _recipe(launch: Launch) -> list[str]:
    return [launch.recipe, *launch.overrides, "--resume", launch.resume]


def _same(value: Any) -> str:
    return str(value)


def _switch(value: Any) -> str:
    return "1" if value else "0"


def _mebibytes(value: Any) -> str:
    return str(value * 2**20)


# As horovodrun sets them: horovod/runner/common/util/config_parser.py, set_env_from_args, and mpi_run.py.
_VARIABLES: dict[str, tuple[tuple[str, ...], Callable[[Any], str]]] = {
    "fusion_threshold_mb": (("HOROVOD_FUSION_THRESHOLD",), _mebibytes),
    "cycle_time_ms": (("HOROVOD_CYCLE_TIME",), _same),
    "cache_capacity": (("HOROVOD_CACHE_CAPACITY",), _same),
    "hierarchical_allreduce": (("HOROVOD_HIERARCHICAL_ALLREDUCE",), _switch),
    "hierarchical_allgather": (("HOROVOD_HIERARCHICAL_ALLGATHER",), _switch),
    "torus_allreduce": (("HOROVOD_TORUS_ALLREDUCE",), _switch),
    "autotune": (("HOROVOD_AUTOTUNE",), _switch),
    "autotune_log_file": (("HOROVOD_AUTOTUNE_LOG",), _same),
    "timeline_filename": (("HOROVOD_TIMELINE",), _same),
    "timeline_mark_cycles": (("HOROVOD_TIMELINE_MARK_CYCLES",), _switch),
    "no_stall_check": (("HOROVOD_STALL_CHECK_DISABLE",), _switch),
    "stall_check_warning_time_seconds": (("HOROVOD_STALL_CHECK_TIME_SECONDS",), _same),
    "stall_check_shutdown_time_seconds": (("HOROVOD_STALL_SHUTDOWN_TIME_SECONDS",), _same),
    "mpi_threads_disable": (("HOROVOD_MPI_THREADS_DISABLE",), _switch),
    "num_nccl_streams": (("HOROVOD_NUM_NCCL_STREAMS",), _same),
    "tcp": (("NCCL_IB_DISABLE",), _switch),
    "thread_affinity": (("HOROVOD_THREAD_AFFINITY",), _same),
    "gloo_timeout_seconds": (("HOROVOD_GLOO_TIMEOUT_SECONDS",), _same),
    "log_level": (("HOROVOD_LOG_LEVEL",), _same),
    "network_interfaces": (("OMPI_MCA_btl_tcp_if_include", "NCCL_SOCKET_IFNAME"), _same),
}


def engine_variables(given: Mapping[str, Any]) -> dict[str, str]:
    """Return the environment that says what horovodrun's flags say, for workers that something else starts.

    Raises:
        UserError: a flag is about horovodrun itself, not about the workers.
    """
    found: dict[str, str] = {}
    for flag in flags.FLAGS:
        value = given.get(flag.key)
        if value is None or (value is False and flag.kind == "switch"):
            continue
        if flag.key not in _VARIABLES:
            raise UserError(f"{flag.name}: has no meaning where srun starts the workers; leave it out, or use --gloo")
        names, written = _VARIABLES[flag.key]
        found |= dict.fromkeys(names, written(value))
    return found
