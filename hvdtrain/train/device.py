"""The device of a worker, and the threads it may use."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import psutil
import torch
from torch.nn.modules.module import register_module_parameter_registration_hook

from hvdtrain.errors import SetupError
from hvdtrain.launched import usable_cores

if TYPE_CHECKING:
    from hvdtrain.world import World


def choose(local_rank: int) -> torch.device:
    """Return the GPU of this worker's own, or the CPU where the host has no GPU.

    Raises:
        SetupError: the host has fewer GPUs than workers; NCCL refuses two workers on one.
    """
    if not torch.cuda.is_available():
        return torch.device("cpu")
    if local_rank >= torch.cuda.device_count():
        raise SetupError(
            f"worker {local_rank} of this host has no GPU: there are {torch.cuda.device_count()}; start as many "
            "workers a host as it has GPUs, or train on the CPU with CUDA_VISIBLE_DEVICES= (empty)"
        )
    device = torch.device("cuda", local_rank)
    torch.cuda.set_device(device)
    return device


def describe(device: torch.device) -> str:
    """Return what the device is called."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


def set_threads(wanted: Literal["auto"] | int, world: World) -> int:
    """Give torch the worker's share of its host's cores, and return it.

    A launcher may bind workers to cores (mpirun does): the cores of the host are then all that any of its workers may
    use.
    """
    own = os.sched_getaffinity(0)
    everyone = world.gather([socket.gethostname(), sorted(own)])
    here = [set(cores) for name, cores in everyone if name == socket.gethostname()]
    share = max(1, usable_cores(bound=len(set().union(*here))) // len(here))
    threads = min(share, len(own)) if wanted == "auto" else wanted
    torch.set_num_threads(threads)
    return threads


def crowding(threads: int, world: World) -> tuple[str, ...]:
    """Return a note for each host whose workers have more threads than it has cores, so that they take turns."""
    everyone: list[tuple[str, list[int], int]] = world.gather(
        [socket.gethostname(), sorted(os.sched_getaffinity(0)), threads]
    )
    notes = []
    for host in dict.fromkeys(name for name, _, _ in everyone):
        here = [(cores, count) for name, cores, count in everyone if name == host]
        cores = usable_cores(bound=len({core for own, _ in here for core in own}))
        wanted = sum(count for _, count in here)
        if wanted > cores and len(here) > 1:
            notes.append(
                f"{len(here)} workers with {wanted} threads take turns on {cores} cores of {host}: how long a step "
                "takes says nothing of workers with cores of their own"
            )
    return tuple(notes)


def memory_bytes(device: torch.device) -> int:
    """Return the memory in use: the peak of the device's on a GPU, else the resident set of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return int(psutil.Process().memory_info().rss)


def make_deterministic() -> None:
    """Allow only operations whose results repeat to the last bit."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False


def build_within_memory(name: str, build: Callable[[], torch.nn.Module]) -> torch.nn.Module:
    """Build a model, and a large one only if its parameters fit into the machine.

    Raises:
        SetupError: they take more than there is.
    """
    model = _build_small(build)
    if model is not None:
        return model
    _check_memory(name, build)
    return build()


def _build_small(build: Callable[[], torch.nn.Module]) -> torch.nn.Module | None:
    """Build a model whose parameters take a sixteenth of the machine's memory at most; else return nothing."""
    try:
        with _limited_to(psutil.virtual_memory().total // 16):
            return build()
    except MemoryError:
        return None
    except RuntimeError as error:
        if "allocate memory" not in str(error):
            raise
        return None


@contextmanager
def _limited_to(left: int) -> Iterator[None]:
    """Let no model be built whose parameters take more than `left` bytes, those that are replaced counted with them.

    torch's layers register a parameter before they fill it. In deterministic mode torch itself would fill it first.

    Raises:
        MemoryError: one was.
    """

    def count(module: torch.nn.Module, name: str, parameter: torch.nn.Parameter | None) -> None:
        nonlocal left
        left -= 0 if parameter is None else parameter.numel() * parameter.element_size()
        if left < 0:
            raise MemoryError

    mode: Any = torch.utils.deterministic
    fills, mode.fill_uninitialized_memory = mode.fill_uninitialized_memory, False
    hook = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        hook.remove()
        mode.fill_uninitialized_memory = fills


def _check_memory(name: str, build: Callable[[], torch.nn.Module]) -> None:
    """Make sure that a model's parameters fit into the machine, by building it without memory first.

    Where memory is promised before it is used, as on Linux, the kernel would end a process that uses too much of it.
    For what it is built of then, torch imports its compiler: about a second and 60 MB.

    Raises:
        SetupError: they take more than there is.
    """
    with torch.device("meta"):
        needed = sum(p.numel() * p.element_size() for p in build().parameters())
    there = psutil.virtual_memory().total
    if needed > there:
        raise SetupError(
            f"model {name} can't be built here: its parameters take {needed / 1e9:,.0f} GB, and this machine has "
            f"{there / 1e9:,.0f} GB; make it smaller"
        )
