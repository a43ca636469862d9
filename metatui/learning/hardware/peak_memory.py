"""Measurement of peak memory: GPU memory on CUDA, the memory of the whole process on the CPU."""

from __future__ import annotations

import ctypes
import gc
import re
import resource
import sys
from contextlib import suppress
from pathlib import Path

STATUS = Path("/proc/self/status")
RESET = Path("/proc/self/clear_refs")
RESET_PEAK = "5"
"""Value that makes the kernel reset VmHWM, the peak of resident memory (proc_pid_clear_refs(5))."""


class PeakMemory:
    """Measures the peak memory of this process since the object was created.

    On CUDA, this is the memory that torch allocated on the device. On the CPU, this is the resident memory of the
    process, including the interpreter and torch.
    """

    def __init__(self, device: str, *, over_current: bool = False) -> None:
        """Start the measurement.

        Args:
            device: value of `compute.device`, with `auto` resolved.
            over_current: whether to release caches now, and count only memory beyond the amount that is then in use.
        """
        self._device = device
        self._base = 0
        if over_current:
            gc.collect()
        if device.startswith("cuda"):
            import torch

            if over_current:
                torch.cuda.empty_cache()
                self._base = torch.cuda.memory_allocated(device)
            torch.cuda.reset_peak_memory_stats(device)
            return
        if over_current:
            # Otherwise, later work could use memory that the C library kept, and the peak would not rise.
            with suppress(OSError, AttributeError):  # not glibc
                ctypes.CDLL(None).malloc_trim(0)
        self._was_reset = _reset_peak()
        self._before = _peak()
        if over_current:
            self._base = (_status("VmRSS") if self._was_reset else self._before) or 0

    def bytes(self) -> int | None:
        """Return the peak so far, in bytes.

        The result is None if the peak cannot be measured, or if it did not exceed an earlier peak that could not be
        reset.
        """
        if self._device.startswith("cuda"):
            import torch

            return int(torch.cuda.max_memory_allocated(self._device)) - self._base
        peak = _peak() if self._device == "cpu" else None
        if peak is None or self._before is None or (peak == self._before and not self._was_reset):
            return None
        return peak - self._base


def _reset_peak() -> bool:
    try:
        RESET.write_text(RESET_PEAK)
    except OSError:
        return False
    return True


def _peak() -> int | None:
    """Return the largest resident memory of this process so far, in bytes.

    This does not use getrusage on Linux, where a process inherits the value of its parent.
    """
    if sys.platform == "linux":
        return _status("VmHWM")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss if sys.platform == "darwin" else None


def _status(field: str) -> int | None:
    with suppress(OSError):
        found = re.search(rf"^{field}:\s+(\d+) kB$", STATUS.read_text(), re.MULTILINE)
        return 1024 * int(found[1]) if found else None
    return None
