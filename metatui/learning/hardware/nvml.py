"""NVIDIA GPUs as the driver reports them through NVML. This module needs neither torch nor a driver."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PCI = Path("/sys/bus/pci/devices")
NVIDIA = "0x10de"
"""PCI vendor ID of NVIDIA."""

DISPLAY = "0x03"
"""First digits of the PCI classes of display controllers and 3D controllers."""


@dataclass(frozen=True)
class Gpu:
    """A physical GPU."""

    name: str
    capability: tuple[int, int] | None
    """Compute capability, major and minor."""


@dataclass(frozen=True)
class Driver:
    """NVML's view of the whole machine, including GPUs that `CUDA_VISIBLE_DEVICES` hides from this process."""

    version: str | None = None
    cuda: tuple[int, int] | None = None
    """Latest CUDA version that the driver supports."""
    gpus: tuple[Gpu, ...] = ()
    error: str | None = None
    """Error message from NVML; None if the driver responds."""


def read_driver() -> Driver:
    """Ask the driver for its version and its GPUs."""
    import pynvml

    try:
        pynvml.nvmlInit()
        cuda = pynvml.nvmlSystemGetCudaDriverVersion_v2()
        gpus = tuple(_gpu(pynvml, handle) for handle in _all(pynvml))
        return Driver(str(pynvml.nvmlSystemGetDriverVersion()), (cuda // 1000, cuda % 1000 // 10), gpus)
    except pynvml.NVMLError as error:
        return Driver(error=str(error))


def pci_gpus() -> int:
    """Count the NVIDIA GPUs on the PCI bus, with or without a driver. Returns 0 if the system does not list them."""

    def is_gpu(device: Path) -> bool:
        with suppress(OSError):
            vendor, kind = ((device / name).read_text().strip() for name in ("vendor", "class"))
            return vendor == NVIDIA and kind.startswith(DISPLAY)
        return False

    return sum(map(is_gpu, PCI.glob("*")))


def handle_of(index: int, environ: Mapping[str, str], pid: int) -> Any | None:
    """Return NVML's handle for CUDA device `index` of a process. `nvmlInit` must have been called.

    CUDA numbers only the GPUs in `CUDA_VISIBLE_DEVICES`, in an order of its own unless `CUDA_DEVICE_ORDER` is
    `PCI_BUS_ID`; NVML numbers all GPUs in the order of the bus. If the GPUs differ and CUDA's order is unknown, this
    function looks for the GPU that the process computes on.

    Args:
        environ: environment variables of the process.
        pid: ID of that process.

    Returns:
        The handle, or None if the device is hidden or its GPU cannot be determined.

    Raises:
        pynvml.NVMLError: if the driver does not respond.
    """
    import pynvml

    gpus = _all(pynvml)
    value = environ.get("CUDA_VISIBLE_DEVICES")
    words = [str(i) for i in range(len(gpus))] if value is None else visible_words(value, len(gpus))
    if index >= len(words):
        return None
    if not words[index].isdecimal():
        return _by_uuid(pynvml, words[index], gpus)
    same_order = (
        environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID" or len({pynvml.nvmlDeviceGetName(g) for g in gpus}) == 1
    )
    return gpus[int(words[index])] if same_order else _computing(pynvml, pid, gpus)


def visible_words(value: str, count: int) -> list[str]:
    """Parse the value of `CUDA_VISIBLE_DEVICES` as CUDA does.

    The returned list ends before the first entry that names no device. If a device is named twice, the list is empty.

    Args:
        count: number of physical GPUs in the machine.

    Returns:
        Device indices below `count`, and identifiers that begin with `GPU-` or `MIG-`, possibly abbreviated.
    """
    words: list[str] = []
    for word in map(str.strip, value.split(",")):
        number = re.fullmatch(r"\+?(\d+)", word)
        if number and int(number[1]) < count:
            words.append(str(int(number[1])))
        elif word.startswith(("GPU-", "MIG-")):
            words.append(word)
        else:
            break
    return words if len(set(words)) == len(words) else []


def _all(pynvml: Any) -> list[Any]:
    return [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]


def _gpu(pynvml: Any, handle: Any) -> Gpu:
    capability = None
    with suppress(pynvml.NVMLError):
        major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
        capability = major, minor
    return Gpu(str(pynvml.nvmlDeviceGetName(handle)), capability)


def _by_uuid(pynvml: Any, word: str, gpus: Iterable[Any]) -> Any | None:
    """Return the device whose identifier begins with `word`, or None if no device or several devices match."""
    devices = gpus if word.startswith("GPU-") else [part for gpu in gpus for part in _mig_parts(pynvml, gpu)]
    matches = [device for device in devices if str(pynvml.nvmlDeviceGetUUID(device)).startswith(word)]
    if len(matches) == 1:
        return matches[0]
    # Drivers before 470 name a MIG device by its GPU, as in MIG-GPU-.../1/0, which NVML only accepts in full.
    return pynvml.nvmlDeviceGetHandleByUUID(word) if "/" in word else None


def _mig_parts(pynvml: Any, gpu: Any) -> list[Any]:
    parts = []
    with suppress(pynvml.NVMLError):  # this GPU has no MIG devices
        for i in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(gpu)):
            with suppress(pynvml.NVMLError):  # no MIG device has this index
                parts.append(pynvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu, i))
    return parts


def _computing(pynvml: Any, pid: int, gpus: Iterable[Any]) -> Any | None:
    processes: Callable[[Any], Iterable[Any]] = pynvml.nvmlDeviceGetComputeRunningProcesses
    matches = [gpu for gpu in gpus if any(process.pid == pid for process in processes(gpu))]
    return matches[0] if len(matches) == 1 else None
