"""The most memory that a run took: of the device on CUDA, of the whole process on the CPU."""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from pathlib import Path


class PeakMemory:
    """Watches from when it is made, in the process that trains on `device`.

    On CUDA it is what torch allocated on the device. On the CPU it is the process's resident memory, the interpreter,
    torch and whatever else the process does included.
    """

    def __init__(self, device: str) -> None:
        self._device = device
        if device.startswith("cuda"):
            import torch

            torch.cuda.reset_peak_memory_stats(device)
        else:
            self._forgotten = _forget_high_water()
            self._before = _high_water()

    def bytes(self) -> int | None:
        """The peak until now; None where the system does not tell, or the process once held more before."""
        if self._device.startswith("cuda"):
            import torch

            return int(torch.cuda.max_memory_allocated(self._device))
        if self._device != "cpu":
            return None
        peak = _high_water()
        if peak is None or self._before is None or (peak == self._before and not self._forgotten):
            return None
        return peak


def _forget_high_water() -> bool:
    """Lets the process's high-water mark start anew, where that is possible (Linux, proc_pid_clear_refs(5))."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
        return True
    return False


def _high_water() -> int | None:
    """The most resident memory of this process, in bytes.

    On Linux not from getrusage: there, a process begins with the mark of the one that started it.
    """
    if sys.platform == "linux":
        with suppress(OSError):
            found = re.search(r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
            return 1024 * int(found[1]) if found else None
    elif sys.platform == "darwin":
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return None
