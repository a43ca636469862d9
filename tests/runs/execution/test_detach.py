"""Runs with a process of their own: they outlive whoever started them, and how they end is seen by whoever looks on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from metatui import events
from metatui.cli import main
from metatui.config.fields import change
from metatui.config.settings import Settings
from metatui.events import Event, Progress, Stop
from metatui.runs.execution.control import LiveRun, launcher, resume_detached, start_detached
from metatui.runs.storage.store import RunStore
from metatui.utils import paths
from metatui.utils.errors import BadInput, MetatuiError, SettingsError

SMALL = change(
    Settings(),
    {
        "training.iterations": 20, "evaluation.every": 10, "evaluation.tasks": 5, "evaluation.test_tasks": 6,
        "evaluation.inner_steps": 2, "model.hidden": (8,), "compute.threads": 1, "compute.device": "cpu",
    },
)  # fmt: skip
ENDLESS = change(SMALL, {"training.iterations": 1_000_000, "evaluation.every": 1_000_000})


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METATUI_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(paths, "log_file", lambda: tmp_path / "metatui.log")


@pytest.fixture(autouse=True)
def nothing_left_over(tmp_path: Path) -> Iterator[None]:
    """Whatever a failing test leaves behind is ended."""
    yield
    for run in RunStore(tmp_path / "runs").runs():
        if run.is_live():
            with suppress(OSError, ValueError):
                os.kill(json.loads(run.lock_path.read_bytes())["pid"], signal.SIGKILL)


def until_progress(live: Iterator[Event]) -> Progress:
    return next(event for event in live if isinstance(event, Progress))


def test_a_detached_run_tells_everything_and_resumes(tmp_path: Path) -> None:
    live = start_detached(SMALL, preset="small")
    assert live.hello.pid != os.getpid()
    assert live.hello.iteration == 0
    seen = list(live)
    assert isinstance(seen[0], events.Started)
    assert [event.iteration for event in seen if isinstance(event, Progress)] == list(range(1, 21))
    assert isinstance(seen[-1], events.Finished)
    assert (live.run.status(), live.run.is_live()) == ("finished", False)
    started = live.run.journal()[0].details
    assert (started["preset"], started["pid"]) == ("small", live.hello.pid)
    assert live.run.settings() == SMALL
    assert (live.run.path / "output.log").read_text() == ""

    with pytest.raises(BadInput, match="is finished after 20 meta-steps"):
        resume_detached(live.run)
    with pytest.raises(SettingsError, match="cannot change when a run is resumed") as refused:
        resume_detached(live.run, {"model.hidden": (4,)})
    assert [problem.field for problem in refused.value.problems] == ["model.hidden"]

    more = resume_detached(live.run, {"training.iterations": 25})
    assert more.hello.iteration == 20
    assert [event.iteration for event in more if isinstance(event, Progress)] == list(range(21, 26))


def test_what_it_prints_is_kept_and_signals_end_it_softly(tmp_path: Path) -> None:
    """No terminal, a session of its own; SIGHUP is nothing to it, SIGTERM lets it save."""
    live = start_detached(ENDLESS)
    pid = live.hello.pid
    assert os.getsid(pid) == pid
    seen = iter(live)
    until_progress(seen)
    if sys.platform == "linux":
        files = {number: os.readlink(f"/proc/{pid}/fd/{number}") for number in (0, 1, 2)}
        output = str(live.run.path / "output.log")
        assert files == {0: "/dev/null", 1: output, 2: output}
    os.kill(pid, signal.SIGHUP)
    assert until_progress(seen)
    os.kill(pid, signal.SIGTERM)
    *_, finished = seen
    assert isinstance(finished, events.Finished)
    assert finished.reason == "interrupted"
    assert live.run.status() == "interrupted"
    assert (live.run.checkpoints_path / "last.safetensors").exists()


def test_it_goes_on_when_whoever_started_it_is_killed(tmp_path: Path) -> None:
    code = (
        "import json, sys; from metatui.runs.execution.control import start_detached\n"
        "from metatui.config.fields import parse\n"
        "live = start_detached(parse(json.loads(sys.argv[1]))); print(live.run.path, flush=True)\n"
        "for event in live: pass"
    )
    starter = subprocess.Popen(
        [sys.executable, "-c", code, ENDLESS.model_dump_json()], stdout=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    assert starter.stdout
    run = RunStore().find(Path(starter.stdout.readline().strip()))
    os.killpg(starter.pid, signal.SIGKILL)  # as of a terminal and all that ran in it
    starter.wait()
    starter.stdout.close()
    with closing(LiveRun.attach(run)) as live:
        seen = iter(live)
        first = until_progress(seen)
        assert until_progress(seen).iteration == first.iteration + 1
        live.submit(Stop())
        assert isinstance(list(seen)[-1], events.Finished)


def test_a_process_that_is_killed_is_seen_at_once(tmp_path: Path) -> None:
    live = start_detached(ENDLESS)
    seen = iter(live)
    until_progress(seen)
    os.kill(live.hello.pid, signal.SIGKILL)
    *_, failed = seen
    assert isinstance(failed, events.Failed)
    assert failed.sentence == (
        f"Process {live.hello.pid}, which trained run {live.run_id}, is gone, so the run is interrupted: "
        f"metatui run --resume {live.run_id} goes on with it"
    )
    assert live.run.status() == "interrupted"
    again = resume_detached(live.run)  # the socket that was left is no obstacle
    again.submit(Stop())
    assert isinstance(list(again)[-1], events.Finished)


def test_what_cannot_be_trained_is_said_as_if_it_were_here(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"compute.device is 'cuda:77', but the devices here are"):
        start_detached(change(SMALL, {"compute.device": "cuda:77"}))
    assert RunStore().runs() == []


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("import os; os._exit(7)", "the run's process ended with 7 before it trained: '.*metatui.log' has what"),
        ("import os; os.abort()", "the run's process was ended by signal 6 before it trained"),
        ("print(open('/nowhere'))", "the run's process ended with 1 before it trained"),
    ],
)
def test_a_process_that_dies_before_it_trains_is_told_of(
    code: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launcher, "CHILD", (sys.executable, "-c", code))
    with pytest.raises(MetatuiError, match=sentence):
        start_detached(SMALL)
    if "nowhere" in code:
        assert "No such file or directory: '/nowhere'" in paths.log_file().read_text()


def test_a_folder_that_one_is_in_has_no_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "metatui").mkdir()
    (tmp_path / "metatui" / "__init__.py").write_text("raise SystemExit('not ours')")
    (tmp_path / "json.py").write_text("raise SystemExit('not ours')")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match="the devices here are"):
        start_detached(change(SMALL, {"compute.device": "cuda:77"}))


def answer(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> dict[str, Any]:
    assert main([*arguments, "--json"]) == code
    report: dict[str, Any] = json.loads(capsys.readouterr().out)
    return report


def test_the_shell_is_given_back_and_the_run_stopped_from_anywhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = [f"--set={path}={value}" for path, value in
             {"training.iterations": 1_000_000, "model.hidden": 8, "compute.device": "cpu",
              "evaluation.every": 1_000_000, "evaluation.tasks": 5}.items()]  # fmt: skip
    begun = answer(capsys, "run", "quick", *small, "--detach")
    assert set(begun) == {"run", "dir", "pid"}
    run = RunStore().find(begun["run"])
    assert (str(run.path), run.is_live()) == (begun["dir"], True)
    assert run.settings().training.iterations == 1_000_000
    ended = answer(capsys, "stop", begun["run"])
    assert (ended["run"], ended["dir"], ended["status"]) == (begun["run"], begun["dir"], "stopped")
    assert ended["iterations"] == run.journal()[-1].iteration
    assert run.journal()[0].details["preset"] == "quick (changed)"

    assert main(["stop", begun["run"]]) == 2
    assert capsys.readouterr().err == f"metatui: run '{begun['run']}' is not live: it is stopped\n"

    assert main(["run", "--resume", begun["run"], "--detach"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{begun['run']} trains in the background, in process ")
    assert f"metatui attach {begun['run']} " in said
    assert f"metatui stop {begun['run']} " in said
    assert main(["stop", begun["dir"]]) == 0
    assert capsys.readouterr().out.startswith(f"{begun['run']} stopped after ")


def test_a_slip_is_answered_before_anything_is_started(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launcher, "_train", lambda request: pytest.fail("a process was started"))
    assert main(["run", "quick", "--set", "task.shots=0", "--detach"]) == 2
    assert "task.shots is 0" in capsys.readouterr().err
    assert main(["run", "--resume", "nosuch", "--detach"]) == 2
    assert "'nosuch' is not a run" in capsys.readouterr().err


def test_a_run_that_does_not_stop_in_time_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    live = start_detached(ENDLESS)
    with monkeypatch.context() as patched:
        patched.setattr("metatui.cli.commands.stop.WAIT_SECONDS", 0.1)
        patched.setattr(LiveRun, "submit", lambda live, command: None)  # a meta-step that takes its time
        assert main(["stop", live.run_id]) == 1
    assert "was told to stop, but has not yet after 0.1 seconds" in capsys.readouterr().err
    live.submit(Stop())
    assert isinstance(list(live)[-1], events.Finished)
