"""What `hvdtrain doctor` looks at: facts of this machine, gathered without an opinion."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from hvdtrain.launched import usable_cores

# Run in a process of its own: a library that does not fit its torch may end the process that imports it.
_PROBE = """
import json
found = {}
try:
    import torch
    found["torch"] = torch.__version__
    found["cuda"] = torch.version.cuda
    found["gpus"] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    found["gpu_gb"] = [torch.cuda.get_device_properties(i).total_memory / 1e9 for i in range(torch.cuda.device_count())]
    found["amx"] = bool(torch.cpu._is_amx_tile_supported())
except Exception as error:
    found["torch_error"] = f"{type(error).__name__}: {error}"
try:
    import horovod
    found["horovod"] = horovod.__version__
    import horovod.torch as hvd
    found["built"] = {name: bool(getattr(hvd, name + "_built")()) for name in ("gloo", "mpi", "nccl")}
    found["built"]["elastic"] = hasattr(hvd.mpi_ops._basics.MPI_LIB_CTYPES, "horovod_starts_anew")
except ModuleNotFoundError as error:
    found["horovod_error"] = None if error.name == "horovod" else str(error)
except BaseException as error:
    found["horovod_error"] = f"{type(error).__name__}: {error}"
print("PROBE" + json.dumps(found))
"""


@dataclass(frozen=True)
class Facts:
    """This machine, this Python and what is installed in it; None where something is not there."""

    hvdtrain: str = "0"
    python: tuple[int, ...] = (3, 11, 0)
    executable: str = "python"
    torch: str | None = None
    torch_error: str | None = None
    cuda: str | None = None
    gpus: tuple[str, ...] = ()
    gpu_gb: tuple[float, ...] = ()
    nvidia_smi: tuple[str, ...] = ()
    amx: bool = False
    horovod: str | None = None
    horovod_error: str | None = None
    built: Mapping[str, bool] = field(default_factory=dict)
    setuptools: bool = True
    horovodrun: str | None = None
    mpirun: str | None = None
    ssh: str | None = None
    processor: str = ""
    cores: int = 1
    logical: int = 1
    memory_gb: float = 0.0
    free_memory_gb: float = 0.0
    shm_gb: float | None = None
    interfaces: Mapping[str, str] = field(default_factory=dict)
    host: str = "localhost"
    host_address: str | None = "127.0.0.1"
    variables: Mapping[str, str] = field(default_factory=dict)
    directory_writable: bool = True
    free_disk_gb: float = 0.0


def gather() -> Facts:
    """Look at everything; takes a few seconds, for torch and Horovod are imported in a process of their own."""
    import psutil

    import hvdtrain
    from hvdtrain.launch.hosts import resolve
    from hvdtrain.report.environment import processor

    probed = _probe()
    memory = psutil.virtual_memory()
    beside = Path(sys.executable).parent / "horovodrun"
    host = socket.gethostname()
    return Facts(
        hvdtrain=hvdtrain.__version__,
        python=sys.version_info[:3],
        executable=sys.executable,
        torch=probed.get("torch"),
        torch_error=probed.get("torch_error"),
        cuda=probed.get("cuda"),
        gpus=tuple(probed.get("gpus", ())),
        gpu_gb=tuple(probed.get("gpu_gb", ())),
        nvidia_smi=_nvidia_smi(),
        amx=probed.get("amx", False),
        horovod=probed.get("horovod"),
        horovod_error=probed.get("horovod_error"),
        built=probed.get("built", {}),
        setuptools=_installed("setuptools"),
        horovodrun=str(beside) if beside.is_file() else shutil.which("horovodrun"),
        mpirun=_first_line(["mpirun", "--version"]),
        ssh=shutil.which("ssh"),
        processor=processor(),
        cores=usable_cores(),
        logical=psutil.cpu_count() or 1,
        memory_gb=memory.total / 1e9,
        free_memory_gb=memory.available / 1e9,
        shm_gb=shutil.disk_usage("/dev/shm").total / 1e9 if Path("/dev/shm").is_dir() else None,
        interfaces=_interfaces(),
        host=host,
        host_address=resolve(host),
        variables=dict(os.environ),
        directory_writable=os.access(Path.cwd(), os.W_OK),
        free_disk_gb=shutil.disk_usage(Path.cwd()).free / 1e9,
    )


def horovod_controllers() -> tuple[str, ...]:
    """Return what the installed Horovod can coordinate workers by, of "gloo" and "mpi"; takes a few seconds."""
    built = _probe().get("built", {})
    return tuple(
        name for name in ("gloo", "mpi") if built.get(name) and (name == "gloo" or shutil.which("mpirun") is not None)
    )


def _probe() -> dict[str, Any]:
    try:
        ran = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", _PROBE], capture_output=True, text=True, timeout=120, check=False
        )
    except (OSError, subprocess.SubprocessError) as error:
        return {"torch_error": str(error), "horovod_error": str(error)}
    found = re.search(r"^PROBE(.*)$", ran.stdout, re.MULTILINE)
    if found is None:
        problem = f"importing it ended Python with code {ran.returncode}"
        return {"torch": _version("torch"), "horovod": _version("horovod"), "horovod_error": problem}
    values: dict[str, Any] = json.loads(found[1])
    return values


def _version(package: str) -> str | None:
    return metadata.version(package) if _installed(package) else None


def _installed(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True


def _first_line(command: list[str]) -> str | None:
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return ran.stdout.strip().partition("\n")[0] or platform.system()


def _nvidia_smi() -> tuple[str, ...]:
    try:
        ran = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(line.partition(" (UUID")[0] for line in ran.stdout.splitlines() if line.startswith("GPU "))


def _interfaces() -> dict[str, str]:
    import psutil

    up = psutil.net_if_stats()
    return {
        name: address.address
        for name, addresses in psutil.net_if_addrs().items()
        for address in addresses
        if address.family == socket.AF_INET and name in up and up[name].isup
    }
