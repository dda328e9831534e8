"""The C library's allocator, told to keep the memory that training frees and asks for again in every step."""

from __future__ import annotations

import ctypes
import os
import platform

# The numbers of malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4
_LARGEST = 2**31 - 1
_OWN_SAY = ("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD")


def reuse_freed_memory() -> bool:
    """Make glibc keep freed memory for this process, and return whether it does.

    By itself it hands tensors of more than 32 MB back to the system when they are freed, and gets them anew in the next
    step, page by page, filled with zeros: a tenth of a step of a small language model on a CPU. Nothing is changed
    where the environment configures an allocator, or the C library is another one.
    """
    if platform.libc_ver()[0] != "glibc" or any(name.startswith(_OWN_SAY) for name in os.environ):
        return False
    mallopt = ctypes.CDLL(None).mallopt
    # Some versions refuse a threshold as large as this: then no allocation gets pages of its own.
    reused = mallopt(_M_MMAP_THRESHOLD, _LARGEST) or mallopt(_M_MMAP_MAX, 0)
    return bool(reused and mallopt(_M_TRIM_THRESHOLD, _LARGEST))
