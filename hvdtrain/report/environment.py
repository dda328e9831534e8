"""Where a run takes place: what someone needs who wants to repeat it or to understand its figures."""

from __future__ import annotations

import os
import platform
import socket
import sys
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import hvdtrain

_PACKAGES = ("torch", "horovod", "numpy", "tokenizers", "safetensors", "pydantic")
# Only what bears on a run and is no secret: an environment may hold keys.
_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "HVDTRAIN_CACHE")
_PREFIXES = ("HOROVOD_", "NCCL_")
_SECRETS = ("SECRET", "KEY", "TOKEN", "PASSWORD")


def gather_environment(environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return versions, the machine and the variables that matter, ready for JSON. Nothing heavy is imported for it."""
    import psutil

    variables = os.environ if environment is None else environment
    return {
        "hvdtrain": hvdtrain.__version__,
        "python": platform.python_version(),
        "packages": {name: version for name in _PACKAGES if (version := _version(name))},
        "command": sys.argv,
        "directory": os.getcwd(),  # noqa: PTH109
        "host": socket.gethostname(),
        "system": platform.platform(),
        "processor": processor(),
        "cores": {"logical": psutil.cpu_count(), "usable": len(os.sched_getaffinity(0))},
        "memory_bytes": psutil.virtual_memory().total,
        "variables": {name: variables[name] for name in sorted(variables) if _matters(name)},
    }


def processor() -> str:
    """Return the processor's name as the kernel has it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _matters(name: str) -> bool:
    return name in _VARIABLES or (name.startswith(_PREFIXES) and not any(word in name for word in _SECRETS))
