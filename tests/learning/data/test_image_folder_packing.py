"""Test that every command that needs a folder's images reports the progress of decoding them."""

from __future__ import annotations

import io
from contextlib import closing
from pathlib import Path

import pytest
from rich.console import Console
from rich.progress import Progress

from metatui.cli import main
from metatui.cli.console.progress import packing_shown
from metatui.cli.console.suite_progress import LiveDisplay, PlainDisplay
from metatui.config import presets
from metatui.runs.execution.control import start_detached
from metatui.runs.storage.store import RunStore
from metatui.runs.suites import RunPacked, RunStarted, SuiteEvent, SuiteManifest, SuiteRunner, load
from metatui.utils import paths
from metatui.utils.child_process import ChildProcess
from metatui.utils.progress import packing
from tests.folder_files import names, write_classes

CLASSES, EACH = 12, 5
IMAGES = CLASSES * EACH
REPORT = f"packing {IMAGES} images\npacked {IMAGES} of {IMAGES} images\n"
TINY = """
[preset]
title = "Tiny"

[task]
source = "folder"
folder = "{folder}"
image_size = 16
ways = 2
shots = 1
queries = 2

[model]
filters = 4

[training]
iterations = 2

[evaluation]
every = 0
tasks = 2
test_tasks = 2
inner_steps = 1

[compute]
device = "cpu"
engine = "batched"
"""

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METATUI_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(paths, "log_file", lambda: tmp_path / "metatui.log")


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """Write a preset that uses an image folder whose images are not cached yet, and return the preset's path."""
    file = tmp_path / "tiny.toml"
    file.write_text(TINY.format(folder=write_classes(tmp_path / "images", names(CLASSES), EACH)))
    return file


def test_commands_report_packing_only_when_they_pack(tiny: Path, capsys: Capture) -> None:
    assert main(["run", str(tiny), "--json"]) == 0
    assert capsys.readouterr().err.startswith(REPORT)
    (run,) = RunStore().runs()
    assert main(["evaluate", run.id]) == 0
    assert "pack" not in capsys.readouterr().err
    (cache,) = paths.packed_folders_dir().iterdir()
    for command in ("evaluate", "rerun"):
        cache.unlink()
        assert main([command, run.id]) == 0
        assert capsys.readouterr().err.startswith(REPORT)


def test_worker_process_reports_packing(tiny: Path) -> None:
    reported: list[tuple[int, int]] = []
    with packing.listener(lambda done, total: reported.append((done, total))):
        live = start_detached(presets.read(tiny).settings)
    assert reported == [(0, IMAGES), (IMAGES, IMAGES)]
    with closing(iter(live)) as events:
        assert list(events)


def test_suite_reports_packing_of_its_run(tiny: Path) -> None:
    (suite,) = load([tiny])
    screen = Console(file=io.StringIO(), width=200)
    display = PlainDisplay(screen, suite, 0)
    seen: list[SuiteEvent] = []
    with SuiteManifest(suite, RunStore()) as ledger:
        runner = SuiteRunner(ledger, ledger.missing())
        with closing(iter(runner)) as events:
            for event in events:
                display.update(event)
                seen.append(event)
    packed = [(event.done, event.total) for event in seen if isinstance(event, RunPacked)]
    assert packed == [(0, IMAGES), (IMAGES, IMAGES)]
    name = suite.runs[0].name
    assert screen.file.getvalue().startswith(  # type: ignore[attr-defined]
        f"{name}: packing {IMAGES} images\n{name}: packed {IMAGES} of {IMAGES} images\n{name}: cpu, "
    )


def test_interrupted_suite_stops_packing(tiny: Path) -> None:
    child = ChildProcess("metatui.runs.suites.worker")
    request = {
        "resume": None, "changes": {}, "settings": presets.read(tiny).settings.model_dump(mode="json"),
        "runs_dir": str(paths.runs_dir()), "origin": None, "side_by_side": 1,
    }  # fmt: skip
    child.send(request)
    child.end_sending()
    assert list(iter(child.receive, None)) == [
        {"what": "packed", "done": 0, "total": IMAGES},
        {"what": "ended", "status": "interrupted", "sentence": None},
    ]
    assert child.wait() == 0
    child.close()
    assert RunStore().runs() == []
    assert not list(paths.packed_folders_dir().glob("*"))


def test_suite_bar_counts_images_then_meta_steps(tiny: Path) -> None:
    (suite,) = load([tiny])
    (run,) = suite.runs
    bar = Progress(console=Console(file=io.StringIO()))
    display = LiveDisplay(bar, suite, 0)
    display.update(RunPacked(run, 30, IMAGES))
    display.update(RunPacked(run, 45, IMAGES))
    _, of_run = bar.tasks
    assert (of_run.completed, of_run.total, of_run.fields["count"]) == (45, IMAGES, f"packing 45/{IMAGES} images")
    display.update(RunStarted(run, 0, "cpu", "batched"))
    _, of_run = bar.tasks
    assert (of_run.completed, of_run.total, of_run.fields["count"]) == (0, 2, "")


def test_terminal_shows_bar_only_while_packing(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Console(file=io.StringIO(), force_terminal=True, width=100)
    monkeypatch.setattr("metatui.cli.console.progress.console", lambda *, stderr: screen)
    for numbers in ((), (0, 30, IMAGES)):
        with packing_shown("images") as progress:
            for done in numbers:
                progress(done, IMAGES)
        assert (f"{IMAGES}/{IMAGES}" in screen.file.getvalue()) is bool(numbers)  # type: ignore[attr-defined]
