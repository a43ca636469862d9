"""Which devices there are, and which one a setting means."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

import torch

from metatui.errors import Problem, SettingsError


@dataclass(frozen=True)
class Device:
    """A device that tensors can be on."""

    name: str
    """As in `compute.device`: `cpu`, `cuda:0`, `mps`."""
    title: str
    """What the maker calls it."""
    memory_bytes: int


def available() -> list[Device]:
    """The devices of this machine, the one that `auto` takes first."""
    found = [
        Device(f"cuda:{i}", (p := torch.cuda.get_device_properties(i)).name, p.total_memory)
        for i in range(torch.cuda.device_count() if torch.cuda.is_available() else 0)
    ]
    memory = _memory_bytes()
    if torch.backends.mps.is_available():
        found.append(Device("mps", f"{_processor()} GPU", memory))
    found.append(Device("cpu", _processor(), memory))
    return found


def resolve(name: str) -> Device:
    """The device that `compute.device` means. Raises SettingsError, which lists those that are there."""
    devices = available()
    if name == "auto":
        return devices[0]
    wanted = "cuda:0" if name == "cuda" else name
    for device in devices:
        if device.name == wanted:
            return device
    there = ", ".join(f"{d.name} ({d.title})" for d in devices)
    raise SettingsError([Problem("compute.device", f"compute.device is '{name}', but the devices here are {there}")])


def physical_cores() -> int:
    """Cores this process may use, hyper-threads counted once where the system tells."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    cores = set()
    for package in Path("/sys/devices/system/cpu").glob("cpu[0-9]*/topology/core_cpus_list"):
        try:
            cores.add(package.read_text())
        except OSError:
            return allowed
    return min(allowed, len(cores)) or allowed


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
