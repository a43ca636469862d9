"""Tests of measuring the peak memory use of runs and benchmarks."""

from __future__ import annotations

import mmap
import sys
from pathlib import Path

import pytest
import torch

from metatui.config.fields import parse
from metatui.config.settings import Settings
from metatui.events import Finished
from metatui.learning.hardware import peak_memory
from metatui.learning.hardware.peak_memory import PeakMemory
from metatui.runs.api import train

MIB = 1024 * 1024


def hold_and_release(size: int) -> None:
    """Allocate `size` bytes and release them, without torch's allocator, which could keep the memory."""
    with mmap.mmap(-1, size) as pages:
        for start in range(0, size, mmap.PAGESIZE):
            pages[start] = 1


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can reset the peak")
def test_earlier_peak_is_not_counted() -> None:
    hold_and_release(300 * MIB)
    watch = PeakMemory("cpu")
    peak = watch.bytes()
    assert peak is not None
    hold_and_release(100 * MIB)
    higher = watch.bytes()
    assert higher is not None
    assert 90 * MIB < higher - peak < 200 * MIB


@pytest.mark.skipif(not peak_memory.RESET.exists(), reason="only Linux can reset the peak")
def test_over_current_counts_only_new_memory() -> None:
    size = 2**26
    peak = PeakMemory("cpu", over_current=True)
    torch.ones(size, dtype=torch.uint8)
    first = peak.bytes()
    assert first is not None
    assert size - 2**20 <= first < size + 2**25  # the kernel counts pages in batches
    again = PeakMemory("cpu", over_current=True).bytes()
    assert again is not None
    assert again < 2**25


@pytest.mark.parametrize(("growth", "expected"), [(4096, 4096), (0, None)])
def test_over_current_without_reset_is_growth(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, growth: int, expected: int | None
) -> None:
    peaks = iter((10_000, 10_000 + growth))
    monkeypatch.setattr(peak_memory, "RESET", tmp_path / "no" / "such")
    monkeypatch.setattr(peak_memory, "_peak", lambda: next(peaks))
    assert PeakMemory("cpu", over_current=True).bytes() == expected


def test_peak_without_reset_is_known_once_exceeded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peak_memory, "_reset_peak", lambda: False)
    marks = iter([500, 500, 700])
    monkeypatch.setattr(peak_memory, "_peak", lambda: next(marks))
    watch = PeakMemory("cpu")
    assert watch.bytes() is None
    assert watch.bytes() == 700


def test_unknown_peak_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert PeakMemory("mps").bytes() is None
    monkeypatch.setattr(peak_memory, "_peak", lambda: None)
    assert PeakMemory("cpu").bytes() is None


def test_journal_records_the_peak(tmp_path: Path, tiny: Settings) -> None:
    seen: list[object] = []
    result = train(tiny, runs_dir=tmp_path, on_event=seen.append)
    assert isinstance(seen[-1], Finished)
    assert result.run
    last = result.run.journal()[-1]
    assert last.event == "finished"
    assert last.details["peak_memory_bytes"] > 50 * MIB


@pytest.fixture
def tiny() -> Settings:
    return parse(
        {
            "model": {"hidden": (8,)},
            "training": {"iterations": 3},
            "evaluation": {"tasks": 2, "test_tasks": 2, "inner_steps": 1},
            "compute": {"device": "cpu"},
        }
    )


@pytest.mark.parametrize(("over_current", "expected"), [(False, 3 * MIB), (True, 2 * MIB)])
def test_cuda_peak_is_the_allocated_memory(over_current: bool, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def peak(device: str) -> int:
        asked.append(("peak", device))
        return 3 * MIB

    monkeypatch.setattr("torch.cuda.reset_peak_memory_stats", lambda device: asked.append(("reset", device)))
    monkeypatch.setattr("torch.cuda.max_memory_allocated", peak)
    monkeypatch.setattr("torch.cuda.empty_cache", lambda: None)
    monkeypatch.setattr("torch.cuda.memory_allocated", lambda device: MIB)
    assert PeakMemory("cuda:1", over_current=over_current).bytes() == expected
    assert asked == [("reset", "cuda:1"), ("peak", "cuda:1")]
