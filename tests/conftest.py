"""Settings and fixtures for all tests."""

from __future__ import annotations

import gc
import importlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

from metatui.config import fields, registry
from metatui.utils import child_process

if TYPE_CHECKING:
    from metatui.learning.engines.autotune import EngineTimings

# Tests run in parallel, with one core each. torch reads this when it is imported. Threads of runs that use all cores
# wait without spinning: otherwise, on a busy machine, a small run on images takes thirty times the CPU time.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


# No deadline, because times depend on the load of the machine. Derandomized, so that failures can be reproduced.
hypothesis.settings.register_profile("metatui", deadline=None, derandomize=True)
hypothesis.settings.load_profile("metatui")


def pytest_xdist_auto_num_workers() -> int:
    """Return the number of test processes that `pytest -n auto` starts.

    It is the number of cores plus two, because some tests wait without using a core. Each process needs time to import
    and collect all tests, so more processes would not pay off.
    """
    return (os.cpu_count() or 1) + 2


def pytest_configure(config: pytest.Config) -> None:
    """Prepare this process and the programs that tests start.

    Under `nohup` or in a background job, SIGHUP or SIGINT is ignored, and the programs would ignore it too. Therefore,
    the default handlers are restored, so that the programs react to these signals. The programs also share compiled
    modules, because compiling metatui would take a second in each of them. Garbage collection is disabled until all
    tests are collected, because imports leave almost no garbage.
    """
    gc.disable()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    for number, default in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, default)


def pytest_collection_finish() -> None:
    """Exempt all existing objects from garbage collection, and make collections of the oldest generation rare.

    Otherwise, tests of the app would spend a fifth of their time traversing the objects of torch and Textual. This
    function first imports torch, which a fixture would otherwise import later, so that torch's objects are exempt too.
    """
    importlib.import_module("metatui.learning.engines.autotune")
    gc.freeze()
    gc.set_threshold(700, 10, 100)
    gc.enable()


@pytest.fixture(autouse=True)
def normal_priority(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start child processes with normal priority.

    With low priority, tests would wait minutes for these processes on a busy machine.
    """
    command = child_process.command
    monkeypatch.setattr(
        child_process, "command", lambda module, handle, niceness, title="": command(module, handle, 0, title)
    )
    monkeypatch.setattr("metatui.tui.controllers.sessions.NICENESS", 0)


@pytest.fixture(autouse=True)
def usual_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `compute.engine = "auto"` choose the default engine without timing the engines.

    The measured times, and therefore the choice, would depend on the load of the machine.
    """
    monkeypatch.setattr(
        "metatui.learning.engines.autotune._milliseconds", lambda *_, limit: 1.0 if limit is None else 2.0
    )
    monkeypatch.setattr("metatui.learning.engines.autotune.WORTH_COMPILING", float("inf"))
    monkeypatch.setattr("metatui.learning.engines.autotune._read", dict)
    monkeypatch.setattr("metatui.learning.engines.autotune.EngineTimings.add", _remember)


@pytest.fixture
def one_view(monkeypatch: pytest.MonkeyPatch) -> None:
    """Record only one held-out task for display after each validation and test.

    Recording the default number of tasks takes a fifth of the time of a small run.
    """
    monkeypatch.setattr("metatui.learning.training.trainer.VIEWS", 1)


@pytest.fixture(autouse=True)
def no_terminal_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the terminal size from the environment. Otherwise, lines of output that tests read could be wrapped."""
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.delenv("LINES", raising=False)


@pytest.fixture(autouse=True)
def own_summaries(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Use a separate cache of run summaries for each test."""
    monkeypatch.setattr("metatui.utils.paths.summaries_file", lambda: tmp_path / "cache" / "summaries.sqlite3")


@pytest.fixture
def registries(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let a test register plugins, and remove these plugins after the test."""

    def forget() -> None:
        registry.Registry._installed.cache_clear()
        registry._entry_points.cache_clear()

    for each in registry.REGISTRIES:
        monkeypatch.setattr(each, "_classes", dict(each._classes))
        monkeypatch.setattr(each, "_broken", {})
    monkeypatch.setattr(fields.FIELDS, "_components", None)
    monkeypatch.setattr(fields.FIELDS, "_fields", {})
    monkeypatch.setattr(registry, "_loaded_files", set())
    monkeypatch.setenv(registry.PLUGINS_VARIABLE, "")
    forget()
    yield
    forget()


def _remember(measured: EngineTimings, engine: str, ms: float) -> None:
    measured.ms[engine] = ms
