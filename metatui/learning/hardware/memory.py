"""Memory allocation, and detection of out-of-memory errors."""

from __future__ import annotations

import ctypes
import platform
from functools import cache

import torch

from metatui.utils.errors import first_line

M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3


@cache
def keep_freed_memory() -> None:
    """Keep the memory of deleted tensors in this process, and reuse it for later tensors.

    Every operation allocates and frees activations of several MB. By default, glibc returns much of this memory
    immediately, and the system then clears each page when it is allocated again. Without glibc, this function does
    nothing.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    library = ctypes.CDLL(None)
    # Older versions allow at most 32 MiB.
    if not library.mallopt(M_MMAP_THRESHOLD, 2**30):
        library.mallopt(M_MMAP_THRESHOLD, 2**25)
    library.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


OUT_OF_MEMORY = (
    "out of memory",  # torch and the drivers of CUDA, ROCm and MPS
    "not enough memory",  # torch's CPU allocator on Windows
    "can't allocate memory",  # torch's CPU allocator on Linux
    "cannot allocate memory",  # the C library
    "failed to allocate",  # Metal
    "invalid buffer size",  # MPS: larger than any buffer of the GPU
    "alloc_failed",  # CUBLAS_STATUS_ALLOC_FAILED; cuDNN, cuSOLVER and cuSPARSE have the same ending
    "allocation_failed",  # CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED
    "unable to find an engine to execute",  # cuDNN: no algorithm whose workspace fits
    "unable to find a valid cudnn algorithm",
    "canuse32bitindexmath",  # more than 2^31 numbers in one tensor
)
"""Parts of error messages, in lower case, that indicate insufficient memory."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether `error` means that a computation was too large for its device, so a smaller one may succeed.

    Only torch's GPU allocator has its own exception class. The CPU allocator, and libraries that allocate memory
    themselves, raise RuntimeError with a message that depends on the library and the platform.
    """
    message = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(part in message for part in OUT_OF_MEMORY)


def free_unused_memory(device: torch.device) -> None:
    """Release the memory of `device` that torch has cached for later tensors."""
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def out_of_memory_sentence(error: BaseException) -> str | None:
    """Return a message for an error that ended an evaluation because memory ran out. Return None for other errors."""
    if not is_out_of_memory(error):
        return None
    line = first_line(error)[:200]
    return f"there is not enough memory, even for one task at a time: free some memory, or use another device ({line})"
