"""Tests of dividing the CPU cores among simultaneous runs."""

from __future__ import annotations

import pytest

from metatui.config.fields import change
from metatui.config.settings import Settings
from metatui.learning.hardware import devices
from metatui.runs.suites.worker import sharing_cores

IMAGES: dict[str, str | int] = {"task.source": "glyphs", "task.shots": 1}


@pytest.mark.parametrize(("runs", "threads"), [(1, 0), (2, 4), (3, 2), (20, 1)])
def test_cores_are_shared(runs: int, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "usable_cores", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert sharing_cores(change(Settings(), IMAGES), runs).compute.threads == threads


@pytest.mark.parametrize("settings", [Settings(), change(Settings(), {**IMAGES, "compute.threads": 8})])
def test_explicit_threads_are_kept(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "usable_cores", lambda: 8)
    assert sharing_cores(settings, 2) == settings
