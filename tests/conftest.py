"""What every test stands on."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

if TYPE_CHECKING:
    from metatui.learning.engines.autotune import Measured

# Tests run side by side, so each keeps to one core; torch reads this when it is first imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")


# How long an example takes says how busy the machine is. The same examples come every time: a failure can be looked at
# again.
hypothesis.settings.register_profile("metatui", deadline=None, derandomize=True)
hypothesis.settings.load_profile("metatui")


def pytest_xdist_auto_num_workers() -> int:
    """Two more than there are cores: much of the time, a test waits for a program that it has started."""
    return (os.cpu_count() or 1) + 2


def pytest_configure(config: pytest.Config) -> None:
    """Programs that tests start inherit which signals are ignored: under nohup, or in the background of a script, that
    would be the very signals that they are sent."""
    for number, default in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, default)


@pytest.fixture(autouse=True)
def engines_as_usual(monkeypatch: pytest.MonkeyPatch) -> None:
    """`compute.engine = "auto"` finds the usual engine the faster one, whatever else this machine is doing."""
    monkeypatch.setattr(
        "metatui.learning.engines.autotune._milliseconds", lambda *_, limit: 1.0 if limit is None else 2.0
    )
    monkeypatch.setattr("metatui.learning.engines.autotune.WORTH_COMPILING", float("inf"))
    monkeypatch.setattr("metatui.learning.engines.autotune._read", dict)
    monkeypatch.setattr("metatui.learning.engines.autotune.Measured.add", _remember)


@pytest.fixture(autouse=True)
def own_summaries(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep summaries of runs with the test, not in the user's cache."""
    monkeypatch.setattr("metatui.utils.paths.summaries_file", lambda: tmp_path / "cache" / "summaries.sqlite3")


def _remember(measured: Measured, engine: str, ms: float) -> None:
    measured.ms[engine] = ms
