"""Processors that this process may use, limited by its CPU affinity and by CPU quotas."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

CPUS = Path("/sys/devices/system/cpu")
CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")
"""File with the control groups of this process on Linux."""


def allowed_processors() -> Collection[int]:
    """Return the numbers of the logical processors on which this process may run, regardless of CPU quotas."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)


def usable_cores() -> int:
    """Count the physical cores that this process may use, or the logical cores if physical ones are not reported.

    A CPU quota, such as that of `docker run --cpus=4` or of a Kubernetes limit, reduces the number: if more threads
    compute than the quota allows, the kernel stops all of them for a part of each period. A quota of 1.5 CPUs allows 2
    cores.
    """
    allowed = allowed_processors()
    try:
        cores = len({(CPUS / f"cpu{cpu}" / "topology" / "core_cpus_list").read_text() for cpu in allowed})
    except OSError:
        cores = len(allowed)
    return min([cores, *map(math.ceil, _cpu_quotas())])


def _cpu_quotas() -> Iterator[float]:
    """Yield the CPU quotas, in numbers of CPUs, of this process's control groups and their parents."""
    groups: list[str] = []
    with suppress(OSError):  # another system than Linux
        groups = OWN_CGROUPS.read_text().splitlines()
    for group in groups:
        _, controllers, path = group.split(":", 2)
        if not controllers:  # version 2
            root, files = CGROUPS, ["cpu.max"]
        elif "cpu" in controllers.split(","):  # version 1
            root, files = CGROUPS / "cpu", ["cpu.cfs_quota_us", "cpu.cfs_period_us"]
        else:
            continue
        # A container may see only its own group, at the root, but the path of this group on the host.
        for folder in (PurePosixPath(path), *PurePosixPath(path).parents):
            with suppress(OSError, ValueError):  # ValueError: the quota is `max`, which means that there is none
                texts = [(root / folder.relative_to("/") / file).read_text() for file in files]
                quota, period = map(int, " ".join(texts).split())
                if quota > 0:  # -1 means that there is none
                    yield quota / period
