"""Devices that tensors can be on."""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from metatui.learning.hardware import cuda
from metatui.utils.errors import Problem, SettingsError
from metatui.utils.processors import usable_cores


@dataclass(frozen=True)
class Device:
    """A device of this machine."""

    name: str
    """Name in torch and in `compute.device`, such as `cpu`, `cuda:0` or `mps`."""
    title: str
    """Product name of the device."""
    memory_bytes: int


def available() -> list[Device]:
    """Return the devices of this machine, in the order in which `auto` prefers them."""
    devices = []
    for i in range(cuda.visible_gpus()):
        with suppress(RuntimeError):  # a broken GPU, which `cuda_problem` reports
            properties = torch.cuda.get_device_properties(i)
            devices.append(Device(f"cuda:{i}", properties.name, properties.total_memory))
    if torch.backends.mps.is_available():
        devices.append(Device("mps", f"{_processor()} GPU", _memory_bytes()))
    return [*devices, cpu()]


def cpu() -> Device:
    """Return the CPU, without calling the driver of another device."""
    return Device("cpu", _processor(), _memory_bytes())


def resolve(name: str) -> Device:
    """Return the device for a value of `compute.device`; for `auto`, the first one that works.

    Raises:
        SettingsError: if this machine does not have the device. The message lists the devices of this machine.
    """
    if name == "cpu":  # works even if a GPU or its driver is broken
        return cpu()
    devices = available()
    if name == "auto":
        return next(device for device in devices if not _fails(device))
    wanted = "cuda:0" if name == "cuda" else name
    for device in devices:
        if device.name == wanted:
            return device
    names = ", ".join(f"{d.name} ({d.title})" for d in devices)
    sentence = f"compute.device is '{name}', but the available devices are {names}"
    if wanted.startswith("cuda") and (problem := cuda.cuda_problem()):
        sentence = f"{sentence}. {problem}"
    raise SettingsError([Problem("compute.device", sentence)])


def _fails(device: Device) -> bool:
    kind, _, index = device.name.partition(":")
    return kind == "cuda" and cuda.failure(int(index)) is not None


def use(device: torch.device) -> None:
    """Make a CUDA device current in this thread, so that torch creates streams on it."""
    if device.type == "cuda":
        torch.cuda.set_device(device)


def synchronize(device: torch.device) -> None:
    """Wait until `device` has finished all queued work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def to_device(tensor: Tensor, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """Copy `tensor` to `device`, converted to `dtype` if one is given.

    A copy from the CPU to CUDA uses pinned memory, so that neither the CPU nor the device waits. Torch keeps the pinned
    memory until the copy is done. If no memory can be pinned, this makes an ordinary copy.
    """
    tensor = tensor.to(dtype=dtype)
    if device.type == "cuda" and tensor.device.type == "cpu":
        with suppress(RuntimeError):
            tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=tensor.is_pinned())


def default_threads(runs: int = 1) -> int:
    """Return the number of CPU threads for each of `runs` simultaneous runs if `compute.threads` is 0.

    The runs share the usable cores, and none gets more threads than OMP_NUM_THREADS, if this is set.
    """
    # Like OpenMP, use the first number of a list and ignore invalid values.
    limit = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    share = max(1, usable_cores() // runs)
    return min(share, int(limit)) if limit.isdecimal() and int(limit) > 0 else share


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
