"""Tests of `metatui runs`: listing and deleting runs."""

from __future__ import annotations

import errno
import json
import os
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from metatui.cli import main
from metatui.cli.commands import runs
from metatui.config.settings import Settings
from metatui.events import Evaluating
from metatui.runs.execution.control import client
from metatui.runs.execution.control.server import ControlServer
from metatui.runs.formatting import file_size
from metatui.runs.storage.journal import JournalWriter
from metatui.runs.storage.lock import RunLock
from metatui.runs.storage.result_files import EvaluationRecord, write_record
from metatui.runs.storage.run_folder import RunFolder
from metatui.runs.storage.store import RunStore
from metatui.runs.storage.summary import summarise
from tests.runs.execution.test_control_server import FakeSession
from tests.tui.fakes import saved_run

PID = 4211
TOTAL = Settings().training.iterations


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METATUI_RUNS", str(tmp_path / "runs"))


def saved(tmp_path: Path, name: str = "a") -> RunFolder:
    return saved_run(tmp_path / "runs", Settings(), name=name)


def note(run: RunFolder, event: str, iteration: int, **details: object) -> None:
    journal = JournalWriter(run.journal_path)
    journal.record(event, iteration, **details)
    journal.close()


def listed(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    """Run `metatui runs` and return the first line of its output."""
    assert main(["runs", *options]) == 0
    return capsys.readouterr().out.splitlines()[0]


def test_live_changes_of_the_number_of_meta_steps(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run = saved(tmp_path)
    assert listed(capsys) == f"a  finished     50 of {TOTAL:,} meta-steps"
    note(run, "tweaked", 30, path="training.iterations", old=TOTAL, new=80)
    note(run, "tweaked", 40, path="training.iterations", old=80, new=60)
    assert "50 of 60 meta-steps" in listed(capsys)
    note(run, "started", 35)
    note(run, "undone", 35, path="training.iterations", new=60, at=40)
    assert "50 of 80 meta-steps" in listed(capsys)
    assert main(["runs", "--json"]) == 0
    (report,) = json.loads(capsys.readouterr().out)["runs"]
    assert (report["iterations"], report["total_iterations"]) == (50, 80)


def test_live_run_names_its_process_and_the_final_test(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = saved(tmp_path)
    note(run, "started", 0, pid=PID, host="elsewhere")
    note(run, "tweaked", 30, path="training.iterations", old=TOTAL, new=50)
    lock = RunLock(run.lock_path)
    assert listed(capsys) == f"a  running      50 of 50 meta-steps, testing, process {PID} on elsewhere"
    monkeypatch.setattr(client, "QUERY_SECONDS", 20)
    with closing(ControlServer(cast(Any, FakeSession(run)))) as server:
        server.open()
        server.send(Evaluating(50, "test", 120, 600))
        assert ", testing 120 of 600 tasks, process" in listed(capsys)
    lock.release()
    assert main(["runs"]) == 0
    assert capsys.readouterr().out.splitlines()[:2] == [
        f"a  interrupted  50 of 50 meta-steps, process {PID} on elsewhere",
        "    interrupted: the process was killed or crashed, and it had saved no checkpoint",
    ]
    assert main(["runs", "--json"]) == 0
    (report,) = json.loads(capsys.readouterr().out)["runs"]
    assert (report["died"], report["host"], report["pid"]) == (True, "elsewhere", None)
    note(run, "interrupted", 50, reason="interrupted", seconds=1.0)
    assert listed(capsys) == "a  interrupted  50 of 50 meta-steps, training complete, not tested"


def test_early_stopping_completes_the_training(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    settings = Settings.model_validate({"training": {"early_stop": 2}})
    run = saved_run(tmp_path / "runs", settings, name="a", test=False)
    assert listed(capsys) == f"a  stopped      50 of {TOTAL:,} meta-steps", "the last validation is the best one"
    note(run, "started", 10)
    note(run, "evaluated", 20, best=True)
    note(run, "evaluated", 20, best=False)
    note(run, "evaluated", 40, best=False)
    lock = RunLock(run.lock_path)
    assert listed(capsys) == f"a  running      50 of {TOTAL:,} meta-steps"
    note(run, "evaluated", 50, best=False)
    assert listed(capsys) == f"a  running      50 of {TOTAL:,} meta-steps, testing"
    note(run, "stopped", 50, reason="stopped")
    lock.release()
    assert listed(capsys) == f"a  stopped      50 of {TOTAL:,} meta-steps, training complete, not tested"


def test_validations_and_meta_loss_of_an_untested_run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run = saved_run(tmp_path / "runs", Settings(), name="a", test=False)

    def results() -> list[str]:
        assert main(["runs"]) == 0
        return [line.strip() for line in capsys.readouterr().out.splitlines()[1:]]

    last = run.evaluation().validation
    assert last
    (line,) = results()
    assert line.startswith("best validation, meta-step 50: loss ")
    write_record(run.evaluation_path, EvaluationRecord(validation=last, best=replace(last, iteration=40)))
    lines = results()
    assert [line.partition(":")[0] for line in lines] == [
        "best validation, meta-step 40", "last validation, meta-step 50",
    ]  # fmt: skip
    run.evaluation_path.unlink()
    progress = summarise(run).progress
    assert progress
    assert results() == [f"meta-loss {progress.meta_loss:.4g}"]


def test_seed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    saved_run(tmp_path / "runs", Settings.model_validate({"training": {"seed": 2}}), name="a")
    assert listed(capsys) == f"a  finished     50 of {TOTAL:,} meta-steps, seed 2"
    run = saved(tmp_path, "b")
    assert "meta-steps, seed 0" in listed(capsys)
    run.settings_path.write_text(run.settings_path.read_text().replace('"maml"', '"of_a_plugin"'))
    assert main(["runs", "--json"]) == 0
    assert sorted(report["seed"] for report in json.loads(capsys.readouterr().out)["runs"]) == [0, 2]


def test_size(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run = saved(tmp_path)
    (run.path / "large").write_bytes(bytes(3 * 2**20))
    assert " 3.0 MiB  50 of" in listed(capsys, "--size")
    assert main(["runs", "list", "--size"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "1 run, 3.0 MiB"
    assert main(["runs", "--size", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["runs"][0]["bytes"] == run.size() > 3 * 2**20


def test_runs_are_deleted(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        saved(tmp_path, name)
    assert main(["runs", "delete", "a", str(tmp_path / "runs" / "a"), "b", "--yes"]) == 0
    assert capsys.readouterr().out == "Deleted a\nDeleted b\n"
    assert [run.id for run in RunStore().runs()] == ["c"]
    assert main(["runs", "delete", "latest", "--yes", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["deleted"] == ["c"]


def test_only_the_link_to_a_run_is_deleted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = saved(tmp_path)
    linked = tmp_path / "runs" / "linked"
    linked.symlink_to(run.path)
    monkeypatch.setattr(runs, "can_answer", lambda: True)
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda text: "y")
    assert main(["runs", "delete", "linked"]) == 0
    printed = capsys.readouterr()
    assert f"meta-steps, link to '{run.path}', which is kept\n" in printed.err
    assert printed.out == f"Deleted linked, which was a link; its target '{run.path}' is kept\n"
    assert run.is_run()
    linked.symlink_to(run.path)
    assert main(["runs", "delete", "a", "linked", "--yes", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["deleted"] == ["a", "linked"]
    assert report["bytes"] > 0
    assert os.listdir(tmp_path / "runs") == []


def test_runs_of_another_user_cannot_be_read(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    private = saved(tmp_path, "private").path
    saved(tmp_path, "a")
    forbidden = [private]
    stat = Path.stat

    def refuse(path: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        if path.parent in forbidden:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return stat(path, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(Path, "stat", refuse)  # the tests may run as root, who can read every file
    for reference in ("private", str(private)):
        assert main(["evaluate", reference]) == 2
        assert capsys.readouterr().err == f"metatui: '{private}' cannot be read: permission denied\n"
    assert main(["runs"]) == 0
    printed = capsys.readouterr()
    assert printed.err == "note: 'private' cannot be read: permission denied\n"
    assert printed.out.startswith("a  finished")
    forbidden += [saved(tmp_path, f"private{number}").path for number in range(2, 6)]
    assert main(["runs"]) == 0
    note = "note: 'private', 'private2', 'private3' and 2 more cannot be read: permission denied\n"
    assert capsys.readouterr().err == note


def test_unreadable_folder_of_runs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert main(["attach", "--runs-dir", str(tmp_path)]) == 2
    message = f"metatui: --runs-dir is '{tmp_path}', which cannot be read: permission denied\n"
    assert capsys.readouterr().err == message


def test_nothing_is_deleted_if_a_run_is_live_or_unknown(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    saved(tmp_path, "a")
    lock = RunLock(saved(tmp_path, "live").lock_path)
    assert main(["runs", "delete", "a", "live", "--yes"]) == 2
    assert capsys.readouterr().err == "metatui: run 'live' is in use by this process: stop the run first\n"
    assert main(["runs", "delete", "a", "nothing", "--yes"]) == 2
    assert "'nothing' is not a run" in capsys.readouterr().err
    assert main(["runs", "delete", "a"]) == 2
    assert "use --yes to delete anyway" in capsys.readouterr().err
    assert len(list(RunStore().runs())) == 2
    lock.release()


@pytest.mark.parametrize(
    ("names", "answer", "code", "question"),
    [(["a"], "y", 0, "this run?"), (["a"], "n", 1, "this run?"), (["a", "b"], "n", 1, "these 2 runs ({})?")],
)
def test_question(
    names: list[str],
    answer: str,
    code: int,
    question: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    asked = []

    def reply(text: str) -> str:
        asked.append(text)
        return answer

    size = file_size(sum(saved(tmp_path, name).size() for name in names))
    monkeypatch.setattr(runs, "can_answer", lambda: True)
    monkeypatch.setattr("click.termui.visible_prompt_func", reply)
    assert main(["runs", "delete", *names]) == code
    err = capsys.readouterr().err
    assert all(f"{name}  finished, 50 of" in err for name in names)
    assert asked == [f"Delete {question.format(size)} This cannot be undone. [y/N]: "]
    assert ("nothing was deleted" in err) == bool(code)
    assert os.path.exists(tmp_path / "runs" / "a") == bool(code)
