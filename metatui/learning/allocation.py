"""Memory: what is given back to the operating system, and how to tell that there is none left."""

from __future__ import annotations

import ctypes
import platform
from functools import cache

import torch

M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3


@cache
def keep_freed_memory() -> None:
    """From now on, memory that tensors free stays with the process, for the next tensors.

    Activations of some MB come and go at every operation. By default glibc gives much of that back at once, and the
    system clears every page of it when it is taken again. Does nothing with another C library.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    library = ctypes.CDLL(None)
    # Older releases take at most 32 MiB.
    if not library.mallopt(M_MMAP_THRESHOLD, 2**30):
        library.mallopt(M_MMAP_THRESHOLD, 2**25)
    library.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def is_out_of_memory(error: BaseException) -> bool:
    """CUDA has a class for it; the CPU's allocator raises RuntimeError with words that differ by platform."""
    said = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        "out of memory" in said or "not enough memory" in said or "can't allocate memory" in said
    )
