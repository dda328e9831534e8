"""Memory that steps free and ask for again stays with the process; each case in a process of its own."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

TENSORS = """
import resource, torch
from hvdtrain.train.allocator import reuse_freed_memory
kept = reuse_freed_memory()
def step():  # a tensor of 40 MB: about 10,000 pages of 4 KiB, or some 20 of 2 MiB
    torch.ones(10_000_000)
for _ in range(20):  # glibc before 2.38 finds aligned memory again only once its neighbours are free too
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step()
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def run(**environment: str) -> tuple[str, int]:
    """Whether memory is kept, and the page faults of five steps."""
    own = {key: value for key, value in os.environ.items() if not key.startswith("MALLOC_")}
    done = subprocess.run(
        [sys.executable, "-c", TENSORS], env=own | environment, capture_output=True, text=True, check=True
    )
    kept, faults = done.stdout.split()
    return kept, int(faults)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_steps_ask_the_system_for_memory_once_only() -> None:
    kept, faults = run()
    assert kept == "True"
    assert faults < 50


def test_an_environment_that_configures_the_allocator_is_left_alone() -> None:
    assert run(MALLOC_ARENA_MAX="2")[0] == "False"
