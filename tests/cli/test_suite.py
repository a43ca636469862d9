"""Tests of `metatui suite`: runs in separate processes, interrupting and continuing a suite, and comparing runs."""

from __future__ import annotations

import errno
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from metatui.cli import main
from metatui.cli.console import suite_progress
from metatui.runs.analysis import exports
from metatui.runs.execution.session import Session
from metatui.runs.storage.run_folder import RunFolder
from metatui.runs.storage.store import RunStore
from metatui.runs.suites import RunProgress, RunStarted, SuiteManifest, SuiteMonitor, SuiteRunner, load, read
from metatui.utils import child_process, paths
from metatui.utils.files import WriteRefusedError

TINY = """
[suite]
title = "Tiny"

[[compare]]
name = "waves"
target = 1000.0

[compare.set]
model.hidden = [8]
algorithm.meta_batch = 2
training.iterations = 4
evaluation = { every = 2, tasks = 5, test_tasks = 6, inner_steps = 2 }
compute = { device = "cpu", engine = "batched", threads = 1 }

[compare.grid]
algorithm.name = ["maml", "scratch"]
"""
ENDLESS = TINY.replace("iterations = 4", "iterations = 10_000_000").replace("every = 2", "every = 0")


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METATUI_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(paths, "log_file", lambda: tmp_path / "metatui.log")


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore(tmp_path / "runs")


@pytest.fixture
def file(tmp_path: Path) -> Callable[[str], str]:
    def write(text: str) -> str:
        path = tmp_path / "tiny.toml"
        path.write_text(text)
        return str(path)

    return write


Capture = pytest.CaptureFixture[str]


def test_suite_is_trained_once_and_compared(
    file: Callable[[str], str], store: RunStore, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = file(TINY)
    assert main(["suite", tiny, "--list", "--json"]) == 0
    (before,) = json.loads(capsys.readouterr().out)["suites"]
    assert [(run["label"], run["status"], run["of"]) for run in before["runs"]] == [
        ("MAML", "waiting", 4),
        ("scratch", "waiting", 0),
    ]
    assert store.runs() == []

    assert main(["suite", tiny, "--json", "--export", str(tmp_path / "x.json")]) == 0
    out, err = capsys.readouterr()
    (after,) = json.loads(out)["suites"]
    assert [(run["status"], run["iterations"]) for run in after["runs"]] == [("finished", 4), ("finished", 0)]
    (comparison,) = after["comparisons"]
    assert comparison["name"] == "waves"
    assert [run["run"] for run in comparison["runs"]] == [run["run"] for run in after["runs"]]
    assert (comparison["target"], comparison["protocol"]["tasks"]) == (1000, 6)
    assert len(comparison["pairs"]) == 1
    assert json.loads((tmp_path / "x.json").read_text())["runs"] == comparison["runs"]
    assert "waves: MAML: cpu, batched engine" in err
    assert "waves: scratch: finished (2 of 2 runs finished)" in err
    maml, scratch = (RunFolder(Path(run["dir"])) for run in after["runs"])
    started = maml.journal()[0]
    assert (started.event, started.details["preset"]) == ("started", "suite tiny")
    assert started.details["pid"] not in (os.getpid(), scratch.journal()[0].details["pid"])

    def full(path: Path, data: bytes) -> None:
        raise WriteRefusedError(path, OSError(errno.ENOSPC, "No space left on device"))

    monkeypatch.setattr(exports, "write_atomically", full)
    assert main(["suite", tiny, "--export", str(tmp_path / "full.json")]) == 1
    out, err = capsys.readouterr()
    assert "tiny: 2 of 2 runs had already finished" in err
    assert "no space left on device" in err
    assert "Loss after 2 inner steps" in out
    assert SuiteMonitor(SuiteManifest(read(Path(tiny)), store)).read().is_complete
    assert len(store.runs()) == 2


def test_each_comparison_is_exported_to_its_own_file(
    file: Callable[[str], str], store: RunStore, tmp_path: Path, capsys: Capture
) -> None:
    tiny = file(TINY + TINY[TINY.index("[[compare]]") :].replace("waves", "again"))
    scratch = "algorithm.name=scratch"
    (suite,) = load([tiny], {"algorithm.name": "scratch"})
    with SuiteManifest(suite, store) as manifest:  # train in this process, which is faster
        (planned,) = suite.runs
        session = Session.start(planned.settings, runs_dir=store.root)
        manifest.add(session.run)
        for _ in session:
            pass
    assert main(["suite", tiny, "--set", scratch, "--export", str(tmp_path / "x.csv")]) == 0
    out, err = capsys.readouterr()
    assert {path.name for path in tmp_path.glob("*.csv")} == {"x-waves.csv", "x-again.csv"}
    assert "tiny: 1 of 1 runs had already finished" in err
    assert [line for line in out.splitlines() if line.startswith("tiny: ")] == ["tiny: waves", "tiny: again"]


def test_comparisons_with_the_same_file_are_refused(tmp_path: Path, store: RunStore, capsys: Capture) -> None:
    first, second = tmp_path / "a.toml", tmp_path / "a-b.toml"
    first.write_text(TINY.replace("waves", "b-c"))
    second.write_text(TINY.replace("waves", "c"))
    assert main(["suite", str(first), str(second), "--export", str(tmp_path / "x.csv")]) == 2
    assert capsys.readouterr().err == (
        "metatui: --export would write comparison 'b-c' of suite 'a' and comparison 'c' of suite 'a-b' to the same "
        f"file '{tmp_path / 'x-a-b-c.csv'}': use separate commands with different file names\n"
    )
    assert store.runs() == [], "nothing is trained"


def test_only_files_that_the_suite_exported_are_replaced(
    file: Callable[[str], str], store: RunStore, tmp_path: Path, capsys: Capture
) -> None:
    scratch = ["suite", file(TINY), "--set", "algorithm.name=scratch"]
    page, figure = tmp_path / "x.md", tmp_path / "x-adaptation.svg"
    page.write_text("mine")
    assert main([*scratch, "--export", str(page)]) == 2
    message = f"--export is '{page}', which already exists: choose another name, or replace the file with --force"
    assert message in capsys.readouterr().err
    assert page.read_text() == "mine"
    assert store.runs() == [], "nothing is trained"
    assert main([*scratch, "--export", str(page), "--force"]) == 0
    assert page.read_text().startswith("# Comparison\n")
    assert main([*scratch, "--export", str(page)]) == 0, "the same command can be run again"
    figure.write_text("mine")
    capsys.readouterr()
    assert main([*scratch, "--export", str(page)]) == 2
    assert f"a figure next to the report is '{figure}', which already exists" in capsys.readouterr().err


def test_interrupted_suite_is_saved_continued_and_closed(file: Callable[[str], str], store: RunStore) -> None:
    endless = file(ENDLESS)
    suite = subprocess.Popen(
        [sys.executable, "-m", "metatui", "suite", endless, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    assert suite.stderr is not None
    for line in suite.stderr:
        if "meta-loss" in line or "cpu, batched engine" in line:
            break
    suite.send_signal(signal.SIGTERM)
    out, err = suite.communicate(timeout=60)
    assert suite.returncode == 130
    assert "interrupted: run the same command to continue" in err
    maml, scratch = json.loads(out)["suites"][0]["runs"]
    assert (maml["status"], scratch["status"]) == ("interrupted", "waiting")
    run = store.find(maml["run"])
    assert not run.is_live()
    assert list(run.checkpoints_path.glob("*.safetensors"))

    with SuiteManifest(read(Path(endless)), store) as manifest:
        events = iter(SuiteRunner(manifest, manifest.folders(), devices=["cpu", "cpu"]))
        continued: set[str] = set()
        while continued != {"MAML", "scratch"}:  # both train simultaneously, because the first run never ends
            event = next(events)
            if isinstance(event, RunStarted) and event.planned.label == "MAML":
                assert event.iteration == maml["iterations"]
            trained = isinstance(event, RunProgress) and event.iteration > maml["iterations"]
            if trained or event.planned.label == "scratch":
                continued.add(event.planned.label)
        events.close()
    assert not any(run.is_live() for run in store.runs())
    assert len(store.runs()) == 2


def test_crashed_process_is_reported(
    file: Callable[[str], str], store: RunStore, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    code = "import sys; sys.stderr.write('oh no'); sys.exit(3)"
    monkeypatch.setattr(child_process, "command", lambda *_: [sys.executable, "-c", code])
    assert main(["suite", file(TINY)]) == 1
    out, err = capsys.readouterr()
    assert "None of the runs of this comparison is finished." in out
    assert err.splitlines()[-1].startswith("metatui: 2 runs failed (run the same command to try again): waves: MAML: ")
    messages = store.root / ".suites" / "tiny" / "messages.log"
    death = "its process ended with exit code 3 without reporting an error"
    assert f"waves: MAML: {death}; its output is in '{messages}'" in err
    assert messages.read_text() == "oh nooh no"
    assert main(["suite", file(TINY), "--list", "--json"]) == 0
    (suite,) = json.loads(capsys.readouterr().out)["suites"]
    assert [(run["run"], run["status"]) for run in suite["runs"]] == [(None, "failed")] * 2, "as in the app"


def test_bundled_suites_are_listed(capsys: Capture) -> None:
    assert main(["suite"]) == 0
    out = capsys.readouterr().out
    assert "chapter-small (" in out
    assert main(["suite", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["suites"]
    with_small = ["algorithms", "chapter", "maml-plus-plus-ablation"]
    bundled = ["chapter-cpu", *with_small, *(f"{name}-small" for name in with_small)]
    assert [suite["name"] for suite in found] == sorted(bundled)
    assert main(["suite", "chapter-small", "--list"]) == 0
    out = capsys.readouterr().out
    assert "waiting" in out
    assert "Reptile (seed 2)" in out


def test_progress_shows_any_label(file: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Console(file=io.StringIO(), force_terminal=True, width=120, _environ={"TERM": "xterm"})
    monkeypatch.setattr(suite_progress, "console", lambda *, stderr: screen)
    suite = read(Path(file(TINY)))
    planned = replace(suite.runs[0], label="MAML, freeze [/a]")  # a closing tag in rich's markup
    with suite_progress.display(suite, 0) as progress:
        progress.update(RunStarted(planned, 0, "cpu", "batched"))
    assert isinstance(screen.file, io.StringIO)
    assert "waves: MAML, freeze [/a]" in screen.file.getvalue()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "'nothing' is neither a suite, nor a preset, nor a TOML file"),
        (["chapter-small", "--devices", "tpu"], "compute.device is 'tpu', but must be auto, cpu, cuda"),
        (["chapter-small", "--devices", ""], "compute.device is '', but must be auto, cpu, cuda"),
        (["chapter-small", "--set", "training.seed=x"], "training.seed is 'x', but must be a whole number"),
        (["chapter-small", "--export", "x.docx"], "'x.docx' must end in one of"),
    ],
)
def test_bad_input_is_refused(arguments: list[str], message: str, store: RunStore, capsys: Capture) -> None:
    assert main(["suite", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.count("\n") == 1
    assert store.runs() == []
