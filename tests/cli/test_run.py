"""Tests of `metatui run` and other commands: JSON keys, exit codes, and output streams."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import metatui
from metatui import events
from metatui.cli import main
from metatui.cli.console import progress
from metatui.config.fields import change
from metatui.config.settings import Settings
from metatui.learning.checks import check as checks
from metatui.learning.checks import edge_cases
from metatui.learning.checks.comparison import Check
from metatui.learning.evaluation.statistics import sample_summary
from metatui.runs.execution import session
from metatui.runs.execution.control import stop_run
from metatui.runs.storage import writer
from metatui.runs.storage.checkpoints import save_checkpoint
from metatui.runs.storage.journal import JournalWriter
from metatui.runs.storage.run_folder import RunFolder
from metatui.runs.storage.store import RunStore
from metatui.utils import logs, paths
from metatui.utils.errors import MetatuiError
from metatui.utils.files import WriteRefusedError
from metatui.utils.numbers import interval
from tests.metrics import read_all
from tests.tui.fakes import saved_run

SMALL = [
    "--set", "training.iterations=20", "--set", "evaluation.every=10", "--set", "evaluation.tasks=5",
    "--set", "evaluation.test_tasks=5", "--set", "model.hidden=8", "--set", "evaluation.inner_steps=2",
    "--device", "cpu",
]  # fmt: skip

RUN_KEYS = {
    "run", "dir", "status", "iterations", "meta_loss", "accuracy", "seconds", "tasks_per_second", "device", "engine",
    "engine_reason", "settings", "result", "validation_result", "best", "validation", "test", "hints", "warning",
    "error",
}  # fmt: skip
EVALUATION_KEYS = {"run", "split", "tasks", "steps", "loss", "accuracy", "batch_norm"}


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METATUI_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(paths, "user_presets_dir", lambda: tmp_path / "presets")
    monkeypatch.setattr(paths, "log_file", lambda: tmp_path / "metatui.log")
    monkeypatch.setattr(paths, "omniglot_cache", lambda: tmp_path / "data" / "omniglot.safetensors")


def answer(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
    """Run a command with `--json`, check its exit code, and return its JSON object."""
    assert main([*arguments, "--json"]) == code
    report = json.loads(capsys.readouterr().out, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    assert isinstance(report, dict)
    return report


def test_run_evaluate_and_list(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    ran = answer(capsys, "run", "quick", *SMALL)
    assert set(ran) == RUN_KEYS
    assert (ran["status"], ran["iterations"], ran["accuracy"], ran["device"]) == ("finished", 20, None, "cpu")
    assert ran["test"].keys() >= EVALUATION_KEYS
    loss = ran["test"]["loss"]
    assert ran["result"] == {
        "metric": "loss", "mean": loss["mean"][-1], "ci95": loss["ci95"][-1], "inner_steps": 2, "split": "test",
        "tasks": 5, "iteration": ran["test"]["iteration"],
    }  # fmt: skip
    assert ran["validation_result"]["mean"] == ran["best"]["loss"]["mean"][-1]
    assert ran["validation_result"]["split"] == "val"
    assert (ran["error"], ran["best"]["checkpoint"], ran["test"]["checkpoint"]) == (None, "best", "best")
    assert (ran["settings"]["model"]["hidden"], ran["settings"]["compute"]["device"]) == ([8], "cpu")
    assert Path(ran["dir"]).name == ran["run"]

    evaluated = answer(capsys, "evaluate", ran["run"])
    assert {key: evaluated[key] for key in EVALUATION_KEYS} == {key: ran["test"][key] for key in EVALUATION_KEYS}
    other = answer(capsys, "evaluate", "maml", "--tasks", "4", "--steps", "3", "--shots", "2", "--split", "val")
    assert main(["evaluate", "maml", "--shots", "0"]) == 2
    assert "evaluation.shots is 0, but must be a whole number from 1 to 1,000" in capsys.readouterr().err
    assert (other["split"], other["tasks"], other["shots"], other["steps"]) == ("val", 4, 2, [0, 1, 2, 3])
    assert len(other["loss"]["mean"]) == len(other["loss"]["ci95"]) == 4
    assert other["accuracy"] is None

    listed = answer(capsys, "runs")
    assert [run["run"] for run in listed["runs"]] == [ran["run"]]
    assert listed["runs"][0]["preset"] == "quick (changed)"

    assert main(["runs"]) == 0
    shown = capsys.readouterr().out
    assert ran["run"] in shown
    assert "(10-shot, 2 steps, 5 test tasks, 95 % interval)" in " ".join(shown.split())
    assert main(["evaluate", ran["run"]]) == 0
    out = capsys.readouterr().out
    assert "10-shot, 2 steps, 5 test tasks, 95 % interval" in out
    assert "diverged" not in out
    result = replace(metatui.evaluate(ran["run"]), diverged=1)
    monkeypatch.setattr("metatui.runs.analysis.evaluate.evaluate", lambda *_, **__: result)
    assert main(["evaluate", ran["run"]]) == 0
    assert "warning: 1 of 5 tasks diverged; the means do not include diverged tasks\n" in capsys.readouterr().out


def test_settings_file_reproduces_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    first = answer(capsys, "run", *SMALL)
    second = answer(capsys, "run", f"{first['dir']}/settings.toml")
    assert first["run"] != second["run"]
    assert (first["meta_loss"], first["test"]["loss"]) == (second["meta_loss"], second["test"]["loss"])
    assert RunStore().find(second["run"]).journal()[0].details["preset"] == f"{first['dir']}/settings.toml"


def test_resume(capsys: pytest.CaptureFixture[str]) -> None:
    ran = answer(capsys, "run", *SMALL)
    assert main(["run", "--resume", ran["run"]]) == 2
    assert "has finished all 20 meta-steps" in capsys.readouterr().err
    more = answer(capsys, "run", "--resume", ran["run"], "--set", "training.iterations=25")
    assert (more["run"], more["iterations"]) == (ran["run"], 25)


def test_several_seeds(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["run", "quick", *SMALL, "--seeds", "0,3"]
    assert main([*arguments, "--set", "algorithm.name=reptile", "--json"]) == 0
    out, err = capsys.readouterr()
    reports = json.loads(out)["runs"]
    assert [report["settings"]["training"]["seed"] for report in reports] == [0, 3]
    assert {report["status"] for report in reports} == {"finished"}
    assert err.count("note: the usual settings of Reptile") == 1
    first, second = (report["run"] for report in reports)
    assert f"to compare the seeds: metatui compare {first} {second}" in err
    over = sample_summary([report["result"]["mean"] for report in reports])
    assert (
        f"test loss over 2 seeds (0 and 3): mean {interval(over.mean, over.ci95)} (95 % interval over the seeds), SD "
        f"{over.deviation:.2g}\n"
    ) in err
    assert main([*arguments]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("test loss over 2 seeds (0 and 3): mean ")
    assert "over 2 seeds" not in err
    for options, message in (
        (["--set", "training.seed=2"], "use only one of them"),
        (["--detach"], "--seeds cannot be combined with --detach"),
        (["--resume", "auto"], "--seeds cannot be combined with --resume"),
    ):
        assert main([*arguments, *options]) == 2
        assert message in capsys.readouterr().err


def test_seeds_of_a_rerun_are_compared_with_the_repeated_run(capsys: pytest.CaptureFixture[str]) -> None:
    first = answer(capsys, "run", *SMALL)["run"]
    for options, is_another_seed in (
        (["--seeds", "1,2"], True),
        (["--seeds", "1"], True),
        (["--seeds", "0,1"], False),  # 0 is the seed of the repeated run
        (["--seeds", "1,2", "--set", "algorithm.inner_lr=0.02"], False),
    ):
        assert main(["rerun", first, *options]) == 0
        out, err = capsys.readouterr()
        several = "," in options[1]
        own = "0" in options[1]
        seeds = "0 and 1" if own else "1 and 2"
        assert out.startswith(f"test loss over 2 seeds ({seeds}): mean ") if several else out == ""
        left_out = "; the repeated run (seed 0) is not included\n"
        assert out.endswith(left_out) is (several and not own)
        assert (f"to compare the seeds and the repeated run: metatui compare {first} " in err) is is_another_seed
        assert ("to compare the seeds: metatui compare " in err) is not is_another_seed
    RunStore().find(first).evaluation_path.unlink()
    assert main(["rerun", first, "--seeds", "1"]) == 0
    assert "to compare" not in capsys.readouterr().err, "the repeated run has no test result"


def test_progress_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", *SMALL]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert "meta-step 10, validation: loss" in err
    assert "(10-shot, 2 steps, 5 validation tasks, 95 % interval)" in err
    assert err.splitlines()[-1].startswith("meta-step 20: Finished; test: loss")
    assert err.splitlines()[-2] == "meta-step 20: testing on 5 tasks"
    assert "\x1b" not in err


def test_first_line_names_an_unusual_model() -> None:
    for name, text in (("auto", "on glyphs, cpu"), ("conv4", "on glyphs, cpu"), ("mlp", "on glyphs with model mlp, ")):
        settings = change(Settings(), {"task.source": "glyphs", "model.name": name})
        started = events.Started(settings, "cpu", "a CPU", "batched", "", 1, 0)
        line = progress.sentence(started, RunFolder(Path("maml-1")))
        assert line
        assert line.startswith(f"maml-1: maml {text}")


def test_failed_run(capsys: pytest.CaptureFixture[str]) -> None:
    wild = ["--set", "algorithm.inner_lr=100", "--set", "algorithm.inner_steps=200"]
    assert main(["run", *SMALL, *wild, "--json"]) == 1
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert (report["status"], report["test"]) == ("failed", None)
    assert err.splitlines()[-1].startswith("metatui: ")
    assert "lower algorithm.inner_lr" in err.splitlines()[-1]


def test_run_without_a_result(capsys: pytest.CaptureFixture[str]) -> None:
    wild = ["--set", "algorithm.inner_lr=100"]
    assert main(["run", *SMALL, *wild, "--json"]) == 1
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert (report["status"], report["result"], report["test"]["diverged"]) == ("finished", None, 5)
    assert report["error"] == report["warning"]
    assert err.splitlines()[-1] == f"metatui: {report['error']}"
    assert "5 of 5 test tasks diverged: lower algorithm.inner_lr (now 100)" in report["error"]
    assert err.count(report["error"]) == 1
    assert main(["evaluate", "latest", "--tasks", "4"]) == 1
    sentence = "metatui: 4 of 4 tasks diverged, and too few tasks remain for a mean: lower --inner-lr or --steps\n"
    assert capsys.readouterr().err == sentence


@pytest.mark.parametrize(("error", "status", "code"), [(MetatuiError("full"), "failed", 1),
                                                       (KeyboardInterrupt(), "interrupted", 130)])  # fmt: skip
def test_json_of_a_run_that_ends_early(
    error: BaseException, status: str, code: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_off(*_: object) -> None:
        raise error

    monkeypatch.setattr(writer, "save_checkpoint", cut_off)
    assert answer(capsys, "run", *SMALL, code=code)["status"] == status
    (run,) = RunStore().runs()
    assert run.status() == status


def test_full_disk_pauses_a_run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    refused: list[WriteRefusedError] = []

    def full_at_first(folder: Path, *more: Any) -> None:
        if not refused:
            refused.append(WriteRefusedError(folder, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))))
            raise refused[0]
        save_checkpoint(folder, *more)

    monkeypatch.setattr(writer, "save_checkpoint", full_at_first)
    monkeypatch.setattr(session, "TRY_EVERY", 0.0)
    assert main(["run", *SMALL]) == 0
    message = capsys.readouterr().err
    warned, paused, resumed = (message.index(text) for text in ("training is waiting", ": Paused", ": Resumed"))
    assert warned < paused < resumed


@pytest.mark.parametrize(("number", "job", "code"), [("SIGTERM", "7", 75), ("SIGTERM", None, 1), ("SIGINT", "7", 1)])
def test_exit_code_of_a_signal_on_a_full_disk(
    number: str, job: str | None, code: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    signals = [signal.Signals[number]]

    def full(folder: Path, *more: Any) -> None:
        while signals:
            signal.raise_signal(signals.pop())
        raise WriteRefusedError(folder, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))

    if job:
        monkeypatch.setenv("SLURM_JOB_ID", job)
    monkeypatch.setattr(writer, "save_checkpoint", full)
    monkeypatch.setattr(session, "TRY_EVERY", 0.0)
    assert main(["run", *SMALL]) == code
    assert "the run can be resumed from its start" in " ".join(capsys.readouterr().err.split())


SEE = progress.PlainDisplay.update
LONG = [*SMALL, "--set", "training.iterations=100000000"]


def start_run(*arguments: str) -> subprocess.Popen[str]:
    """Start `metatui run` in a new process, wait until its first checkpoint is saved, and return the process."""
    process = subprocess.Popen(
        [sys.executable, "-m", "metatui", "run", *LONG, *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert process.stderr
    validations = 0
    while validations < 2:  # the first one is then saved as the best
        text = process.stderr.readline()
        assert text, "the run ended too early"
        validations += ", validation: " in text
    return process


def test_ctrl_c_interrupts_and_saves(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    see = progress.PlainDisplay.update

    def interrupt(display: progress.PlainDisplay, event: events.Event) -> None:
        see(display, event)
        if isinstance(event, events.Evaluated):
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(progress.PlainDisplay, "update", interrupt)
    assert main(["run", *SMALL, "--json"]) == 130
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert report["status"] == "interrupted"
    run = RunStore().find("latest")
    assert (run.id, run.status()) == (report["run"], "interrupted")
    assert f"to continue: metatui run --resume {run.id}\n" in err
    assert read_all(run.metrics())[-1].iteration == report["iterations"] < 20
    assert main(["evaluate", "latest", "--tasks", "5", "--json"]) == 0


def stop_when_validated(display: progress.PlainDisplay, event: events.Event) -> None:
    SEE(display, event)
    if isinstance(event, events.Evaluated):
        live = stop_run(RunStore().find("latest"))
        assert live
        live.close()


def terminate_when_validated(display: progress.PlainDisplay, event: events.Event) -> None:
    SEE(display, event)
    if isinstance(event, events.Evaluated):
        signal.raise_signal(signal.SIGTERM)


@pytest.mark.parametrize(("end", "code"), [(stop_when_validated, 130), (terminate_when_validated, 143)])
def test_seeds_that_were_not_started_are_named(
    end: Callable[..., None], code: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress.PlainDisplay, "update", end)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    long = ["--set", "training.iterations=1000000"]
    assert main(["run", "quick", *SMALL, *long, "--seeds", "5,3,4", "--json"]) == code
    out, err = capsys.readouterr()
    (report,) = json.loads(out)["runs"]
    assert "seeds 3, 4 were not started; to train them, repeat the command with --seeds 3,4" in err.splitlines()
    assert main(["rerun", "latest", "--seeds", "1,2"]) == code
    assert (
        f"seed 2 was not started; to train it, repeat the command with the run {report['run']} and --seeds 2"
        in capsys.readouterr().err.splitlines()
    )


def test_stop_from_elsewhere_is_not_a_success(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress.PlainDisplay, "update", stop_when_validated)
    assert main(["run", *SMALL, "--set", "training.iterations=1000000", "--json"]) == 130
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert (report["status"], report["test"]) == ("stopped", None)
    assert err.splitlines()[-1] == (
        f"metatui: {report['run']} was stopped in the app or with 'metatui stop' before its final test, so it has no "
        f"test result; to continue: metatui run --resume {report['run']}"
    )


def test_a_line_is_printed_after_each_tenth_of_a_run(tmp_path: Path) -> None:
    lines = io.StringIO()
    display = progress.PlainDisplay(Console(file=lines, width=200), RunFolder(tmp_path))
    display.update(events.Tweaked(0, "training.iterations", 5000, 10))
    for step in range(1, 11):
        display.update(events.Progress(step, 1.0, None, 1.0, 1.0, 0.1, step, 1.0))
    assert lines.getvalue().count(" of 10: ") == 10


def test_long_evaluations_report_their_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    screen = Console(file=io.StringIO(), width=120)
    display = progress.PlainDisplay(screen, RunFolder(tmp_path))
    for split in ("val", "test"):
        for done in range(0, 601, 50):
            display.update(events.Evaluating(5000, split, done, 600))
            now += 4
    assert isinstance(screen.file, io.StringIO)
    assert screen.file.getvalue().splitlines() == [
        "meta-step 5,000: validated 150 of 600 tasks, 0:36 left",
        "meta-step 5,000: validated 300 of 600 tasks, 0:24 left",
        "meta-step 5,000: validated 450 of 600 tasks, 0:12 left",
        "meta-step 5,000: validated 600 of 600 tasks, 0:00 left",
        "meta-step 5,000: testing on 600 tasks",
        "meta-step 5,000: tested 150 of 600 tasks, 0:36 left",
        "meta-step 5,000: tested 300 of 600 tasks, 0:24 left",
        "meta-step 5,000: tested 450 of 600 tasks, 0:12 left",
        "meta-step 5,000: tested 600 of 600 tasks, 0:00 left",
    ]


def test_killed_run_can_be_resumed(capsys: pytest.CaptureFixture[str]) -> None:
    process = start_run()
    (run,) = RunStore().runs()
    assert run.status() == "running"
    assert main(["run", "--resume", run.id]) == 2
    assert f"is in use by process {process.pid}" in capsys.readouterr().err
    process.kill()
    process.communicate()
    assert run.status() == "interrupted"
    iteration = read_all(run.metrics())[-1].iteration
    more = answer(capsys, "run", "--resume", run.id, "--set", f"training.iterations={iteration + 10}")
    assert (more["status"], more["iterations"]) == ("finished", iteration + 10)
    assert [p.iteration for p in read_all(run.metrics())] == list(range(1, iteration + 11))


def test_presets_are_saved_listed_and_deleted(capsys: pytest.CaptureFixture[str]) -> None:
    bundled = answer(capsys, "presets")["presets"]
    assert "quick" in [preset["name"] for preset in bundled]
    assert answer(capsys, "presets", "list")["presets"] == bundled
    saved = answer(capsys, "presets", "save", "mine", "--from", "quick", "--set", "training.seed=5")
    assert (saved["name"], saved["bundled"], saved["settings"]["training"]["seed"]) == ("mine", False, 5)
    assert main(["presets", "save", "mine"]) == 2
    assert "'mine' is already one of your presets" in capsys.readouterr().err
    assert answer(capsys, "presets", "show", "mine") == saved
    options = ["--title", "My own", "--set", "task.ways=3", "--overwrite"]
    assert main(["presets", "save", "mine", "--from", "quick", *options]) == 0
    out, err = capsys.readouterr()
    assert out == f"Saved as {saved['path']}\n"
    assert err == "note: task.ways has no effect with task.source=sinusoid\n"
    saved = answer(capsys, "presets", "show", "mine")
    assert (saved["title"], saved["settings"]["task"]["ways"]) == ("My own", 3)
    assert answer(capsys, "presets", "path", "mine")["path"] == saved["path"]
    assert answer(capsys, "presets", "path")["path"] == str(Path(saved["path"]).parent)
    assert main(["presets", "show", "mine"]) == 0
    assert "training.seed" in capsys.readouterr().out
    assert main(["presets"]) == 0
    out = capsys.readouterr().out
    headings = (
        "Quick start",
        "Sinusoids",
        "Glyphs, 5-way",
        "Omniglot, 5-way",
        "Omniglot, 20-way",
        "Yours",
        "mine (own)",
    )
    places = [out.index(text) for text in headings]
    assert places == sorted(places)
    published = [line for line in out.splitlines() if line.startswith("    published: ")]
    assert "(not comparable)" not in published[0], "sinusoid-finn, whose protocol is that of the paper"
    assert sum("(not comparable)" in line for line in published) > 5
    assert answer(capsys, "presets", "delete", "mine") == {"deleted": "mine"}
    assert answer(capsys, "presets")["presets"] == bundled


def test_preset_from_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    ran = answer(capsys, "run", *SMALL)
    saved = answer(capsys, "presets", "save", "mine", "--from", ran["run"])
    assert saved["source"] == f"run {ran['run']}"
    assert saved["settings"]["training"]["iterations"] == 20


def test_check_reports_errors(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    good = Check("second order", "maml", "batched", "higher", 1e-12, 1e-8, True)
    bad = Check("second order", "maml", "loop", "higher", 0.5, 1e-8, False)
    agrees = edge_cases.EdgeCaseCheck("LSTM", "maml", "loop", "agrees", 1e-12, "")
    wrong = edge_cases.EdgeCaseCheck("LSTM", "maml", "auto", "wrong", 0.25, "")
    monkeypatch.setattr(checks, "run_checks", lambda device: iter([good]))
    monkeypatch.setattr(edge_cases, "run_edge_case_checks", lambda: iter([agrees]))
    report = answer(capsys, "check")
    assert report["ok"] is True
    assert report["modules"][0]["outcome"] == "agrees"
    keys = {"name", "algorithm", "engine", "reference", "relative_error", "tolerance", "ok"}
    assert keys <= report["checks"][0].keys()
    monkeypatch.setattr(checks, "run_checks", lambda device: iter([good, bad]))
    assert answer(capsys, "check", code=1)["ok"] is False
    assert main(["check"]) == 1
    out, err = capsys.readouterr()
    assert out.startswith("1 of 2 checks failed. ")
    assert "WRONG  second order, maml, loop: relative error 5.0e-01\n" in out
    assert "ok  second order, maml, batched, compared with higher\n" in err
    monkeypatch.setattr(checks, "run_checks", lambda device: iter([good]))
    monkeypatch.setattr(edge_cases, "run_edge_case_checks", lambda: iter([agrees, wrong]))
    assert answer(capsys, "check", code=1)["ok"] is False
    assert main(["check"]) == 1
    assert "WRONG  LSTM, maml, auto: relative error 2.5e-01" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("device", "message"),
    [("tpu", "compute.device is 'tpu', but must be"), ("cuda:9", "compute.device is 'cuda:9', but")],
)
def test_check_on_missing_device(capsys: pytest.CaptureFixture[str], device: str, message: str) -> None:
    assert main(["check", "--device", device]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"metatui: {message}")


def test_list_tells_why_a_run_failed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = saved_run(tmp_path / "runs", Settings(), name="failed", test=False)
    run.journal_path.write_bytes(run.journal_path.read_bytes().splitlines(keepends=True)[0])
    journal = JournalWriter(run.journal_path)
    journal.record("failed", 50, sentence="the meta-loss is not finite")
    journal.close()
    (report,) = answer(capsys, "runs")["runs"]
    assert (report["status"], report["reason"]) == ("failed", "the meta-loss is not finite")
    assert main(["runs"]) == 0
    assert "    failed: the meta-loss is not finite\n" in capsys.readouterr().out


def test_doctor_names_unusable_folders_and_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "app_state_file", lambda: tmp_path / "app.toml")
    monkeypatch.setattr(paths, "keymap_file", lambda: tmp_path / "keymap.toml")
    (tmp_path / "file").touch()
    (tmp_path / "app.toml").write_text("theme = 3")
    (tmp_path / "keymap.toml").write_text("[[[broken")
    problems = answer(capsys, "doctor", "--runs-dir", "/proc/runs")["problems"]
    assert any(problem.startswith("'/proc' cannot be written: ") for problem in problems)
    assert any("app.toml' is ignored: theme is 3" in problem for problem in problems)
    assert any("keymap.toml' is not a TOML file" in problem for problem in problems)
    problems = answer(capsys, "doctor", "--runs-dir", str(tmp_path / "file" / "runs"))["problems"]
    assert any(f"because '{tmp_path / 'file'}' is not a folder" in problem for problem in problems)
    assert main(["doctor", "--runs-dir", str(tmp_path / "file" / "runs")]) == 0
    out = capsys.readouterr().out
    assert [f"problem: {problem}" for problem in problems] == [line for line in out.splitlines() if "problem: " in line]


def test_doctor_report(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(paths, "keymap_file", lambda: tmp_path / "keymap.toml")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    report = answer(capsys, "doctor")
    assert report["versions"]["metatui"] == metatui.__version__
    assert report["devices"][-1]["device"] == "cpu"
    assert report["data"]["omniglot"] is False
    assert report["files"]["runs"] == os.environ["METATUI_RUNS"]
    assert {"colours", "encoding", "unicode", "TERM", "tmux"} <= report["terminal"].keys()
    assert report["terminal"]["pictures"] == "in shades"  # the output has no colours
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"metatui {metatui.__version__} trains on {report['devices'][0]['device']} (")
    assert "Omniglot file" in out
    assert report["threads"]["usable_cores"] >= 1
    assert report["environment"]["METATUI_RUNS"] == os.environ["METATUI_RUNS"]
    assert re.search(r"^CUDA_VISIBLE_DEVICES +not set$", out, re.MULTILINE)
    names = {Path(file).name for file in report["files"].values()}
    assert {"app.toml", "engines.json", "summaries.sqlite3"} <= names
    assert re.search(r"^Own keys +.*keymap\.toml \(does not exist yet\)$", out, re.MULTILINE)
    assert not re.search(r"^Bundled presets .*does not exist", out, re.MULTILINE)
    keys = [key for section in ("cuda", "data", "terminal") for key in report[section] if "_" in key]
    assert [key for key in keys if key in out] == ["NO_COLOR"]


def test_app_needs_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--preset", "quick"]) == 2
    assert "use 'metatui run' to train without one" in capsys.readouterr().err


def test_internal_errors_are_logged(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(store: RunStore) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(RunStore, "summaries", broken)
    monkeypatch.setattr(logs, "MAX_BYTES", 10)
    log = tmp_path / "metatui.log"
    log.write_text("a log that is too large")
    assert main(["runs"]) == 1
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"metatui: internal error (ZeroDivisionError); the traceback is in {log}\n")
    assert "ZeroDivisionError: a bug" in log.read_text()
    assert (tmp_path / "metatui.old.log").read_text() == "a log that is too large"
    no_log = log / "metatui.log"  # in a folder that is a file
    monkeypatch.setattr(paths, "log_file", lambda: no_log)
    assert main(["runs"]) == 1
    message = f"metatui: internal error (ZeroDivisionError); the log {no_log} cannot be written\n"
    assert capsys.readouterr().err == message


def test_log_that_cannot_hold_the_whole_traceback_is_not_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(io.BytesIO):
        def write(self, data: Any) -> int:
            return super().write(bytes(data)[:100])

    def broken(store: RunStore) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(RunStore, "summaries", broken)
    monkeypatch.setattr(logs, "open_log", lambda: nullcontext((Full(), "")))
    assert main(["runs"]) == 1
    assert capsys.readouterr().err.endswith("metatui.log cannot be written\n")


def test_ctrl_c_exits_with_130(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(store: RunStore) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(RunStore, "summaries", interrupted)
    assert main(["runs"]) == 130
    assert capsys.readouterr().err.strip() == "metatui: interrupted"


def test_closed_pipe_is_silent() -> None:
    reader, output = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "metatui", "presets"]
    done = subprocess.run(command, stdout=output, stderr=subprocess.PIPE, text=True, timeout=60)
    os.close(output)
    assert (done.returncode, done.stderr) == (1, "")


def test_ascii_without_colour(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    answer(capsys, "run", *SMALL)
    for name, value in {"NO_COLOR": "1", "FORCE_COLOR": "1", "COLUMNS": "60"}.items():
        monkeypatch.setenv(name, value)
    for arguments in (["presets"], ["runs"]):
        screen = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
        monkeypatch.setattr(sys, "stdout", screen)
        assert main(arguments) == 0
        screen.seek(0)
        shown = screen.read()
        assert "\x1b[3" not in shown  # no colours
        assert max(map(len, re.sub(r"\x1b\[[0-9;]*m", "", shown).splitlines())) <= 60
        assert arguments == ["presets"] or "+/-" in shown


def test_progress_bar_in_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Console(file=io.StringIO(), force_terminal=True, highlight=False, width=120, _environ={"TERM": "xterm"})
    monkeypatch.setattr(progress, "console", lambda *, stderr: screen)
    assert main(["run", *SMALL]) == 0
    assert isinstance(screen.file, io.StringIO)
    shown = screen.file.getvalue()
    assert "measuring engines: loop (2 of 2)" in shown
    assert "20/20" in shown
    assert "meta-loss" in shown
    assert "(10-shot, 2 steps, 5 test tasks, 95 % interval)" in shown
    assert shown.endswith("\x1b[?25h")  # the cursor is visible again


def test_settings_without_effect_are_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    small = ["run", *SMALL, "--set", "training.iterations=1"]
    (tmp_path / "adam.toml").write_text("[algorithm]\ninner_optimizer = 'adam'\n")
    for given in (["--set", "algorithm.inner_optimizer=adam"], [str(tmp_path / "adam.toml")]):
        assert main([*small, "--set", "algorithm.name=imaml", *given]) == 0
        line = "note: algorithm.inner_optimizer has no effect with algorithm.name=imaml"
        assert [text for text in capsys.readouterr().err.splitlines() if "no effect" in text] == [line]
    assert main(["run", "quick", *small[1:], "--set", "algorithm.inner_optimizer=adam"]) == 0
    assert "no effect" not in capsys.readouterr().err


def test_usual_values_of_a_selected_algorithm(capsys: pytest.CaptureFixture[str]) -> None:
    select = ["run", *SMALL, "--set", "training.iterations=1", "--set", "algorithm.name=reptile"]
    assert main([*select, "--json"]) == 0
    printed = capsys.readouterr()
    line = "note: the usual settings of Reptile for regression are algorithm.inner_steps=5, algorithm.outer_lr=0.1"
    assert [text for text in printed.err.splitlines() if "usual settings" in text] == [line]
    assert "usual settings" not in printed.out
    assert main([*select, "--set", "algorithm.inner_steps=5", "--set", "algorithm.outer_lr=0.3"]) == 0
    assert "usual settings" not in capsys.readouterr().err
