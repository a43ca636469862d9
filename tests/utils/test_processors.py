"""Tests of counting the CPU cores that a process may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from metatui.utils import processors
from metatui.utils.processors import usable_cores


@pytest.fixture(autouse=True)
def cpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulate four cores with two threads each (CPUs 0 to 7).

    The core of CPU 8 is unknown, and there are no control groups.
    """
    for number in range(8):
        folder = tmp_path / "cpus" / f"cpu{number}" / "topology"
        folder.mkdir(parents=True)
        (folder / "core_cpus_list").write_text(f"{number % 4},{number % 4 + 4}\n")
    monkeypatch.setattr(processors, "CPUS", tmp_path / "cpus")
    monkeypatch.setattr(processors, "CGROUPS", tmp_path / "groups")
    monkeypatch.setattr(processors, "OWN_CGROUPS", tmp_path / "own")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)


@pytest.mark.parametrize(("allowed", "cores"), [({0, 1, 4, 5}, 2), ({0, 1}, 2), ({0, 4}, 1), ({0, 1, 8}, 3)])
def test_usable_cores_are_those_allowed(allowed: set[int], cores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: allowed)
    assert usable_cores() == cores


@pytest.mark.parametrize(("count", "cores"), [(6, 4), (2, 2), (None, 1)])
def test_all_processors_are_allowed_on_a_system_without_affinity(
    count: int | None, cores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: count)
    assert usable_cores() == cores


V1 = "4:memory:/\n2:cpu,cpuacct:/docker/a1\n0::/\n"


@pytest.mark.parametrize(
    ("own", "files", "cores"),
    [
        ("0::/\n", {"cpu.max": "200000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "10000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "6400000 100000\n"}, 4),
        ("0::/\n", {"cpu.max": "max 100000\n"}, 4),
        ("0::/a/b\n", {"a/cpu.max": "100000 50000\n", "a/b/cpu.max": "300000 100000\n"}, 2),
        ("0::/a/b\n", {"a/cpu.max": "max 100000\n", "a/b/cpu.max": "300000 100000\n"}, 3),
        ("0::/kubepods/pod1\n", {"cpu.max": "300000 100000\n"}, 3),
        ("0::/../other\n", {}, 4),
        ("0::/\n", {"cpu.max": ""}, 4),
        (V1, {"cpu/cpu.cfs_quota_us": "250000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        (V1, {"cpu/docker/a1/cpu.cfs_quota_us": "100000\n", "cpu/docker/a1/cpu.cfs_period_us": "100000\n"}, 1),
        ("0::/a:b\n", {"a:b/cpu.max": "200000 100000\n"}, 2),
        ("3:cpuset:/\n", {"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4),
        (V1, {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4),
    ],
)  # fmt: skip
def test_quota_limits_usable_cores(own: str, files: dict[str, str], cores: int, tmp_path: Path) -> None:
    (tmp_path / "own").write_text(own)
    for name, text in files.items():
        path = tmp_path / "groups" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert usable_cores() == cores
