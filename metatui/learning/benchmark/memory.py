"""The peak of memory over a stretch of work."""

from __future__ import annotations

import ctypes
import gc
import re
import resource
import sys
from contextlib import suppress
from pathlib import Path

import torch

STATUS = Path("/proc/self/status")
RESET = Path("/proc/self/clear_refs")
RESET_PEAK = "5"
"""What the kernel takes as the order to forget VmHWM, the peak of resident memory (man 5 proc)."""


class Peak:
    """The peak from the moment this is made, over what was held then."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)
            self._before = torch.cuda.memory_allocated(device)
            return
        # What the C library keeps for later is given back; else it would serve unseen.
        with suppress(OSError, AttributeError):  # it is not glibc
            ctypes.CDLL(None).malloc_trim(0)
        self._resets = _reset_peak()
        self._before = _resident("VmRSS") if self._resets else _largest_ever()

    def bytes(self) -> int | None:
        """None where nothing tells: on Apple's GPUs, and where the process was larger before."""
        match self._device.type:
            case "cuda":
                return torch.cuda.max_memory_allocated(self._device) - self._before
            case "cpu" if self._resets:
                return _resident("VmHWM") - self._before
            case "cpu":
                return _largest_ever() - self._before or None
            case _:
                return None


def _reset_peak() -> bool:
    try:
        RESET.write_text(RESET_PEAK)
    except OSError:
        return False
    return True


def _resident(field: str) -> int:
    found = re.search(rf"^{field}:\s+(\d+) kB$", STATUS.read_text(), re.MULTILINE)
    assert found
    return 1024 * int(found[1])


def _largest_ever() -> int:
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else 1024 * largest
