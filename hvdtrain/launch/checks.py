"""What is well, doubtful or wrong with a machine, and what mends it: small functions over gathered facts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from hvdtrain.launch.facts import Facts
from hvdtrain.launch.hosts import loopback_problem

_REBUILD = "scripts/install"
_SECRETS = ("TOKEN", "SECRET", "PASSWORD", "API_KEY", "ACCESS_KEY", "CREDENTIAL")


@dataclass(frozen=True)
class Finding:
    """The state of one thing: `bad` where training needs it. `remedy` is what to type or to do."""

    state: Literal["ok", "warn", "bad"]
    what: str
    found: str
    remedy: str = ""


def examine(facts: Facts) -> list[Finding]:
    """Return a finding for each thing looked at, in the order in which a person should read them."""
    return [finding for check in CHECKS if (finding := check(facts)) is not None]


def python(facts: Facts) -> Finding:
    """Python itself, and the setuptools that Horovod's launcher needs since Python 3.12."""
    version = ".".join(map(str, facts.python))
    if facts.python < (3, 10):
        return Finding(
            "bad", "Python", f"{version}; 3.10 or newer is needed", "install a newer Python, then scripts/install"
        )
    if facts.python >= (3, 12) and not facts.setuptools:
        found = f"{version} without setuptools, which horovodrun needs since 3.12"
        return Finding("bad", "Python", found, f"{facts.executable} -m pip install setuptools")
    return Finding("ok", "Python", f"{version} ({facts.executable})")


def torch(facts: Facts) -> Finding:
    """PyTorch can be imported."""
    if facts.torch_error is not None or facts.torch is None:
        return Finding("bad", "PyTorch", facts.torch_error or "not installed", _REBUILD)
    return Finding("ok", "PyTorch", f"{facts.torch}, {f'CUDA {facts.cuda}' if facts.cuda else 'CPU only'}")


def horovod(facts: Facts) -> Finding:
    """Horovod can be imported, so that it fits this PyTorch."""
    if facts.horovod is None:
        return Finding("bad", "Horovod", "not installed: only runs with one worker work", _REBUILD)
    if facts.horovod_error is not None:
        found = f"{facts.horovod} does not work with this PyTorch: {facts.horovod_error}"
        return Finding("bad", "Horovod", found, f"{_REBUILD} (builds it for the PyTorch that is installed)")
    if facts.built.get("elastic") is False:
        found = f"{facts.horovod} as it was released: a worker that an elastic job loses can take others with it"
        return Finding("warn", "Horovod", found, f"{_REBUILD} (builds it with what elastic jobs need)")
    return Finding("ok", "Horovod", facts.horovod)


def controller(facts: Facts) -> Finding | None:
    """Horovod was built with something to coordinate workers by, and that is here."""
    if not facts.built:
        return None
    gloo, mpi = facts.built.get("gloo", False), facts.built.get("mpi", False)
    names = " and ".join(name for name, there in (("MPI", mpi), ("Gloo", gloo)) if there)
    if not names:
        found = "Horovod has neither Gloo nor MPI: it can't start workers"
        return Finding("bad", "controller", found, f"apt-get install cmake g++, then {_REBUILD}")
    if mpi and facts.mpirun is None:
        found = "Horovod was built with MPI, which horovodrun then prefers, but there is no mpirun"
        return Finding("warn", "controller", found, "apt-get install openmpi-bin, or hvdtrain launch --gloo")
    version = (facts.mpirun or "").removeprefix("mpirun ")
    default = f"; without --gloo horovodrun takes MPI, {version}" if mpi and gloo else ""
    return Finding("ok", "controller", names + default)


def launcher(facts: Facts) -> Finding | None:
    """The horovodrun that is found belongs to this Python."""
    if facts.horovod is None:
        return None
    if facts.horovodrun is None:
        found = "not found, although Horovod is installed"
        return Finding(
            "bad", "horovodrun", found, f"{facts.executable} -m pip install --force-reinstall horovod, or {_REBUILD}"
        )
    directory = facts.executable.rpartition("/")[0]
    if directory and not facts.horovodrun.startswith(directory + "/"):
        found = f"{facts.horovodrun} belongs to another Python than {facts.executable}"
        return Finding("warn", "horovodrun", found, _REBUILD)
    return Finding("ok", "horovodrun", facts.horovodrun)


def gpu(facts: Facts) -> Finding:
    """GPUs are seen by PyTorch, and Horovod can use NCCL between them."""
    if not facts.gpus:
        if facts.nvidia_smi:
            found = f"{len(facts.nvidia_smi)} in this machine, but this PyTorch sees none"
            remedy = "install a CUDA build of PyTorch that fits the driver, then scripts/install"
            return Finding("warn", "GPU", found, remedy)
        return Finding("ok", "GPU", "none; training takes the CPU")
    names = ", ".join(f"{name} ({memory:.0f} GB)" for name, memory in zip(facts.gpus, facts.gpu_gb, strict=True))
    if facts.built and not facts.built.get("nccl", False) and len(facts.gpus) > 1:
        found = f"{names}; Horovod has no NCCL, so gradients take the way through the CPU"
        return Finding("warn", "GPU", found, f"HOROVOD_GPU_OPERATIONS=NCCL {_REBUILD}")
    return Finding("ok", "GPU", names)


def cores(facts: Facts) -> Finding:
    """Cores, and what a worker gets of them."""
    amx = ", with AMX (fast bf16)" if facts.amx else ""
    limited = f" of {facts.logical}" if facts.cores < facts.logical else ""
    shares = ", ".join(f"{n} workers x {facts.cores // n}" for n in (2, 4) if facts.cores >= n)
    found = f"{facts.cores}{limited} usable, {facts.processor}{amx}; threads: {shares or '1 worker x 1'}"
    threads = facts.variables.get("OMP_NUM_THREADS", "")
    if threads.isdecimal() and int(threads) > facts.cores:
        return Finding("warn", "cores", f"{found}; OMP_NUM_THREADS={threads} is more", "unset OMP_NUM_THREADS")
    if facts.cores < 2:
        return Finding("warn", "cores", f"{found}; several workers share one core", "")
    return Finding("ok", "cores", found)


def memory(facts: Facts) -> Finding:
    """Enough memory for a worker or two."""
    found = f"{facts.memory_gb:.1f} GB, {facts.free_memory_gb:.1f} GB free"
    if facts.free_memory_gb < 2:
        return Finding(
            "warn", "memory", f"{found}; two small workers take about 2 GB", "end other programs, or use -np 1"
        )
    return Finding("ok", "memory", found)


def shared_memory(facts: Facts) -> Finding | None:
    """MPI and NCCL exchange gradients on one machine through /dev/shm; containers are given little of it."""
    uses = facts.built.get("mpi", False) or facts.built.get("nccl", False)
    if facts.shm_gb is None or not uses:
        return None
    if facts.shm_gb < 0.25:
        found = f"/dev/shm has {facts.shm_gb * 1000:.0f} MB, which MPI and NCCL may fill"
        return Finding("warn", "shared memory", found, "docker run --shm-size=1g ...")
    return Finding("ok", "shared memory", f"{facts.shm_gb:.1f} GB in /dev/shm")


def network(facts: Facts) -> Finding:
    """Interfaces that other hosts could be reached by."""
    names = ", ".join(f"{name} {address}" for name, address in facts.interfaces.items()) or "none"
    if all(address.startswith("127.") for address in facts.interfaces.values()):
        return Finding("ok", "network", f"{names}: this machine alone")
    return Finding("ok", "network", names)


def host_name(facts: Facts) -> Finding:
    """This machine's own name resolves to an address that other hosts reach, which Gloo needs on several hosts."""
    problem = loopback_problem(facts.host, lambda _: facts.host_address)
    if problem is None:
        return Finding("ok", "host name", f"{facts.host} is {facts.host_address}")
    address = next((one for one in facts.interfaces.values() if not one.startswith("127.")), None)
    if address is None:
        return Finding("ok", "host name", f"{facts.host} is {facts.host_address}; will do on one machine")
    found = f"{facts.host} is {facts.host_address}: fine on one machine; with Gloo on several, workers can't connect"
    return Finding("warn", "host name", found, f"put the line '{address} {facts.host}' first in /etc/hosts")


def ssh(facts: Facts) -> Finding:
    """Workers on other hosts are started over ssh."""
    if facts.ssh is None:
        return Finding("warn", "ssh", "not installed: no workers on other hosts", "apt-get install openssh-client")
    return Finding("ok", "ssh", facts.ssh)


def engine(facts: Facts) -> Finding | None:
    """Variables that change Horovod's engine and may have been forgotten."""
    values = facts.variables
    if values.get("HOROVOD_TIMELINE"):
        found = "HOROVOD_TIMELINE is set: its writer takes a core from worker 0"
        return Finding("warn", "engine", found, "unset HOROVOD_TIMELINE")
    threshold = values.get("HOROVOD_FUSION_THRESHOLD", "")
    if threshold.isdecimal() and 0 < int(threshold) < 4096:
        found = f"HOROVOD_FUSION_THRESHOLD={threshold} is in bytes: as good as no fusion"
        return Finding("warn", "engine", found, f"export HOROVOD_FUSION_THRESHOLD={int(threshold) * 2**20}")
    knobs = [
        f"{name}={values[name]}" for name in ("HOROVOD_CYCLE_TIME", "HOROVOD_FUSION_THRESHOLD") if values.get(name)
    ]
    return Finding("ok", "engine", ", ".join(knobs) + " (go before the recipe's)") if knobs else None


def secrets(facts: Facts) -> Finding | None:
    """The horovodrun of this version shows the whole environment on its workers' command lines."""
    names = sorted(name for name in facts.variables if any(word in name.upper() for word in _SECRETS))
    if not names:
        return None
    shown = ", ".join(names[:4]) + (" and more" if len(names) > 4 else "")
    found = f"{shown}: horovodrun puts the environment on its workers' command lines, where all users see it"
    return Finding("warn", "secrets", found, f"on a shared machine: unset {' '.join(names[:4])}")


def disk(facts: Facts) -> Finding:
    """Runs are written below the working directory."""
    if not facts.directory_writable:
        return Finding("warn", "disk", "this directory can't be written", "cd elsewhere, or output_dir=PATH")
    found = f"{facts.free_disk_gb:.1f} GB free here"
    if facts.free_disk_gb < 1:
        return Finding("warn", "disk", f"{found}; checkpoints may fill it", "output_dir=PATH on another disk")
    return Finding("ok", "disk", found)


CHECKS: tuple[Callable[[Facts], Finding | None], ...] = (
    python, torch, horovod, controller, launcher, gpu, cores, memory, shared_memory, network, host_name, ssh, engine,
    secrets, disk,
)  # fmt: skip
