"""Tests of access to runs in other processes: starting, attaching, measuring CPU and memory use, and stopping."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from metatui.config.fields import change
from metatui.config.settings import Settings
from metatui.events import Change, Evaluated, Event, Finished, Pause, Paused, Progress, Resume, Tweaked
from metatui.runs.execution.control import StartingRun
from metatui.runs.storage.run_folder import RunFolder
from metatui.runs.storage.store import RunStore
from metatui.runs.suites import background, bundled
from metatui.tui.controllers import sessions
from metatui.tui.controllers.run_client import RunClient
from metatui.tui.controllers.sessions import Attached, Sessions
from metatui.tui.helper import on_demand
from metatui.tui.model import system_monitor
from metatui.tui.model.run_model import RunModel
from metatui.tui.model.system_monitor import Load, Sampler
from metatui.tui.terminal.crash_info import CrashInfo, describe_background_run
from metatui.utils import child_process, paths
from metatui.utils.errors import BadInput, MetatuiError
from tests.tui.fakes import FakeSession, evaluation, saved_run, views

TINY = change(
    Settings(),
    {
        "training.iterations": 1_000_000,
        "evaluation.every": 20,
        "evaluation.tasks": 10,
        "compute.device": "cpu",
        "compute.engine": "batched",
    },
)


@pytest.fixture
def real(runs_dir: Path) -> Iterator[Sessions]:
    sessions = Sessions(runs_dir)
    yield sessions
    sessions.close()
    for run in RunStore(runs_dir).runs():
        if run.is_live():
            os.kill(json.loads(run.lock_path.read_bytes())["pid"], signal.SIGKILL)


def next_event(events: Iterator[Event], kind: type[Event]) -> Event:
    return next(event for event in events if isinstance(event, kind))


def test_start_detach_attach_and_stop(real: Sessions) -> None:
    settings = change(TINY, {"compute.device": "auto"})
    first = real.start(settings, "tiny").wait()
    assert first.hello.pid != os.getpid()
    events = iter(first)
    next_event(events, Evaluated)
    settings = change(settings, {"algorithm.inner_lr": 0.02})
    first.submit(Change("algorithm.inner_lr", 0.02))
    next_event(events, Tweaked)
    first.submit(Pause())
    next_event(events, Paused)
    first.close()
    assert not [event for event in events if isinstance(event, Finished)]
    attached = real.attach(first.run)
    joined = iter(attached.session)
    assert attached.session.hello.phase == "paused"
    model = attached.model
    assert model.run_id == first.run.id
    assert attached.session.hello.settings.compute.device != "auto"
    assert model.settings == settings, "the selected device and number of threads are not in the settings"
    assert model.evaluation is not None
    assert model.val_loss.last is not None
    attached.session.submit(Resume())
    step = next_event(joined, Progress)
    assert step.iteration > model.iteration >= 20
    assert len(real.views(first.run.id, 2)) == 2
    real.stop(first.run)
    end = next_event(joined, Finished)
    assert isinstance(end, Finished)
    assert end.reason == "stopped"
    assert list(joined) == []
    with pytest.raises(BadInput, match="is not training: it is stopped"):
        real.attach(first.run)


def test_invalid_settings_leave_no_folder(real: Sessions, runs_dir: Path) -> None:
    with pytest.raises(BadInput, match=r"task\.folder"):
        real.start(change(TINY, {"task.source": "folder", "task.folder": "/nowhere"}), None).wait()
    assert not list(runs_dir.glob("*"))


def test_views_of_a_missing_run(real: Sessions) -> None:
    for _ in range(2):
        with pytest.raises(MetatuiError, match="is not a run"):
            real.views("nothing", 1)


def test_idle_helper_is_ended_and_replaced(real: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_demand, "IDLE_SECONDS", 0.0)
    for _ in range(2):
        with pytest.raises(MetatuiError, match="is not a run"):
            real.views("nothing", 1)
        assert real._helper is not None
        assert real._helper._idle is not None
        real._helper._idle.join()
        assert real._helper._helper is None


def test_dead_helper_is_replaced(real: Sessions) -> None:
    with pytest.raises(MetatuiError, match="is not a run"):
        real.views("nothing", 1)
    assert real._helper is not None
    assert real._helper._helper is not None
    real._helper._helper._child.kill()
    with pytest.raises(MetatuiError, match="was killed"):
        real.views("nothing", 1)
    with pytest.raises(MetatuiError, match="is not a run"):
        real.views("nothing", 1)


def test_events_from_the_folder_are_not_repeated(runs_dir: Path) -> None:
    evaluated = Evaluated(evaluation(TINY, 20), views(TINY), best=True)
    again = Evaluated(evaluation(TINY, 20), (), best=False)
    session = FakeSession(TINY, saved_run(runs_dir, TINY, name="maml-1", steps=20))
    session.end(evaluated, Paused(21), again, Finished(21, "stopped", 1.0, None))
    model, client = RunModel(TINY), RunClient()
    written = {("evaluated", 20): 1, ("paused", 21): 1, ("finished", 21): 1}
    client.begin(lambda: session, model, Attached(session, model, written))
    assert client.receiver is not None
    client.receiver.over.wait()
    assert client.drain().events == [again, Finished(21, "stopped", 1.0, None)]


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
def test_load_of_a_process() -> None:
    busy = "x = bytearray(64 * 2**20); print(flush=True)\nwhile True: pass"
    with subprocess.Popen([sys.executable, "-c", busy], stdout=subprocess.PIPE) as child:
        assert child.stdout
        child.stdout.readline()
        sampler = Sampler()
        first = sampler.sample(child.pid, "cpu")
        while not (now := sampler.sample(child.pid, "cpu")).cpu_percent:
            pass
        child.kill()
    assert first.cpu_percent is None  # needs two samples
    assert now.memory is not None
    assert now.memory > 64 * 2**20
    ((name, text),) = now.facts()
    assert name == "process"
    assert text.startswith(str(child.pid))
    gone = Sampler().sample(child.pid, "cpu")
    assert (gone.memory, gone.cpu_percent) == (None, None)
    assert gone.facts() == []


def test_cpu_load_is_a_percentage_of_one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    times, used = iter((10.0, 12.0, 14.0)), iter((1.0, 2.0, 8.0))
    monkeypatch.setattr(system_monitor, "time", SimpleNamespace(monotonic=lambda: next(times)))
    monkeypatch.setattr(system_monitor, "_cpu_seconds", lambda pid: next(used))
    sampler = Sampler()
    loads = [sampler.sample(os.getpid(), "cpu").cpu_percent for _ in range(3)]
    assert loads == [None, 50.0, 300.0]
    load = Load(process=7, memory=3 * 2**29, cpu_percent=300.0)
    assert load.facts() == [("process", "7, 1,536 MiB, CPU 300 %")]


def test_crash_info_outlives_the_process(tmp_path: Path) -> None:
    words = CrashInfo()
    assert (words.drawing, words.run) == (False, None)
    child = os.fork()
    if child == 0:
        words.drawing, words.run = True, RunFolder(tmp_path / "a run")
        os._exit(0)
    os.waitpid(child, 0)
    assert words.drawing
    assert words.run == RunFolder(tmp_path / "a run")
    words.run = None
    assert words.run is None


def test_background_run_names_its_commands(tmp_path: Path) -> None:
    home = RunFolder(paths.runs_dir() / "maml-1")
    commands = "metatui attach maml-1 to follow it, metatui stop maml-1 to stop it"
    assert describe_background_run(home) == f"Run maml-1 continues in the background: {commands}"
    elsewhere = tmp_path / "my runs" / "maml-1"
    text = describe_background_run(RunFolder(elsewhere))
    assert text.endswith(f"metatui attach '{elsewhere}' to follow it, metatui stop '{elsewhere}' to stop it")


def test_runs_and_suites_of_the_app_are_nice(runs_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(module: str, handle: int, niceness: int, title: str = "") -> list[str]:
        raise OSError(f"niceness {niceness}")

    def refuse_request(starting: StartingRun, request: dict[str, object], title: str) -> None:
        raise OSError(f"niceness {request['niceness']}")

    monkeypatch.setattr(child_process, "command", refuse)
    with pytest.raises(MetatuiError, match="niceness 10"):
        background.start(bundled()[0], RunStore(runs_dir))
    monkeypatch.setattr(StartingRun, "__init__", refuse_request)
    monkeypatch.setattr(sessions, "NICENESS", 10)  # as outside of tests
    with pytest.raises(OSError, match="niceness 10"):
        Sessions(runs_dir).start(TINY, "tiny")
