"""What a run says it took of memory."""

from __future__ import annotations

import mmap
import sys
from pathlib import Path

import pytest

from metatui.config.fields import parse
from metatui.config.settings import Settings
from metatui.events import Finished
from metatui.runs.api import train
from metatui.runs.execution import peak_memory
from metatui.runs.execution.peak_memory import PeakMemory

MIB = 1024 * 1024


def hold_and_let_go(size: int) -> None:
    """Past the allocator, which may keep what is let go."""
    with mmap.mmap(-1, size) as pages:
        for start in range(0, size, mmap.PAGESIZE):
            pages[start] = 1


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the high-water mark cannot be made to start anew")
def test_the_peak_is_that_of_the_watch_and_not_of_before() -> None:
    hold_and_let_go(300 * MIB)
    watch = PeakMemory("cpu")
    peak = watch.bytes()
    assert peak is not None
    hold_and_let_go(100 * MIB)
    higher = watch.bytes()
    assert higher is not None
    assert 90 * MIB < higher - peak < 200 * MIB


def test_what_the_process_held_before_is_not_called_the_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peak_memory, "_forget_high_water", lambda: False)
    marks = iter([500, 500, 700])
    monkeypatch.setattr(peak_memory, "_high_water", lambda: next(marks))
    watch = PeakMemory("cpu")
    assert watch.bytes() is None
    assert watch.bytes() == 700


def test_nothing_is_said_where_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    assert PeakMemory("mps").bytes() is None
    monkeypatch.setattr(peak_memory, "_high_water", lambda: None)
    assert PeakMemory("cpu").bytes() is None


def test_a_runs_journal_has_it(tmp_path: Path, tiny: Settings) -> None:
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


def test_on_cuda_it_is_what_torch_allocated_there(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def peak(device: str) -> int:
        asked.append(("peak", device))
        return 3 * MIB

    monkeypatch.setattr("torch.cuda.reset_peak_memory_stats", lambda device: asked.append(("reset", device)))
    monkeypatch.setattr("torch.cuda.max_memory_allocated", peak)
    assert PeakMemory("cuda:1").bytes() == 3 * MIB
    assert asked == [("reset", "cuda:1"), ("peak", "cuda:1")]
