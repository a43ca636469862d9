"""Tests of detached runs, which continue after the process that started them has ended, and report how they end."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from metatui import events
from metatui.__main__ import main as entry_point
from metatui.cli import main
from metatui.config.fields import change
from metatui.config.settings import Settings
from metatui.events import Event, Progress
from metatui.runs.execution import worker
from metatui.runs.execution.control import LiveRun, StartingRun, resume_detached, start_detached, stop_run
from metatui.runs.execution.session import Session
from metatui.runs.storage.lock import RunLock
from metatui.runs.storage.store import RunStore
from metatui.utils import child_process, paths
from metatui.utils.errors import BadInput, MetatuiError, SettingsError
from metatui.utils.progress import stages

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
    """Kill runs that are still training after a failed test."""
    yield
    for run in RunStore(tmp_path / "runs").runs():
        if run.is_live():
            with suppress(OSError, ValueError):
                os.kill(json.loads(run.lock_path.read_bytes())["pid"], signal.SIGKILL)


def until_progress(live: Iterator[Event]) -> Progress:
    return next(event for event in live if isinstance(event, Progress))


def test_detached_run_reports_every_event_and_resumes() -> None:
    live = start_detached(SMALL, preset="small")
    assert live.hello.pid != os.getpid()
    if sys.platform == "linux":
        title = f"'metatui {live.run.id}'; import sys".encode()
        assert Path(f"/proc/{live.hello.pid}/cmdline").read_bytes().split(b"\0")[3].startswith(title)
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

    with pytest.raises(SettingsError, match="cannot be changed when a run is resumed") as refused:
        resume_detached(live.run, {"model.hidden": (4,)})
    assert [problem.field for problem in refused.value.problems] == ["model.hidden"]

    more = resume_detached(live.run, {"training.iterations": 25})
    assert more.hello.iteration == 20
    assert [event.iteration for event in more if isinstance(event, Progress)] == list(range(21, 26))


def test_run_survives_its_starter_and_resumes_when_killed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    live = started_by_another_process()
    seen = iter(live)
    first = until_progress(seen)
    assert until_progress(seen).iteration == first.iteration + 1
    with monkeypatch.context() as patched:
        patched.setattr("metatui.cli.commands.stop.WAIT_SECONDS", 0.1)
        patched.setattr(LiveRun, "submit", lambda live, command: None)  # as in a long meta-step
        assert main(["stop", live.run.id]) == 1
    assert "did not stop within 0.1 seconds" in capsys.readouterr().err
    os.kill(live.hello.pid, signal.SIGKILL)
    *_, failed = seen
    assert isinstance(failed, events.Died)
    assert failed.sentence == f"Process {live.hello.pid} ended unexpectedly during run {live.run.id}"
    with monkeypatch.context() as patched:
        patched.setattr("metatui.cli.commands.stop.stop_run", lambda run: live)
        patched.setattr("metatui.cli.commands.stop._end", lambda live: failed)
        assert main(["stop", live.run.id]) == 1
        advice = f"{failed.sentence}: resume the run with metatui run --resume {live.run.id}"
        assert advice in capsys.readouterr().err
        patched.setattr("metatui.cli.commands.stop._end", lambda live: events.Failed(3, "the disk is broken"))
        assert main(["stop", live.run.id]) == 1
        assert capsys.readouterr().err == "metatui: the disk is broken\n"
    assert live.run.status() == "interrupted"

    # The socket of the dead process still exists. The new process has no terminal and its own session.
    assert main(["run", "--resume", live.run.id, "--detach"]) == 0
    output = capsys.readouterr().out
    assert output.startswith(f"{live.run.id} is training in the background, in process ")
    assert f"metatui attach {live.run.id} " in output
    assert f"metatui stop {live.run.id} " in output
    again = LiveRun.attach(live.run)
    pid = again.hello.pid
    assert os.getsid(pid) == pid
    seen = iter(again)
    until_progress(seen)
    if sys.platform == "linux":
        files = {number: os.readlink(f"/proc/{pid}/fd/{number}") for number in (0, 1, 2)}
        output = str(live.run.path / "output.log")
        assert files == {0: "/dev/null", 1: output, 2: output}
    os.kill(pid, signal.SIGHUP)  # ignored
    assert until_progress(seen)
    os.kill(pid, signal.SIGTERM)
    *_, finished = seen
    assert isinstance(finished, events.Finished)
    assert finished.reason == "interrupted"
    assert live.run.status() == "interrupted"
    assert (live.run.checkpoints_path / "last.safetensors").exists()


def started_by_another_process() -> LiveRun:
    """Start a run in another process, kill that process, and attach to the run."""
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
    os.killpg(starter.pid, signal.SIGKILL)  # as when a terminal is closed
    starter.wait()
    starter.stdout.close()
    return LiveRun.attach(run)


def test_error_of_the_process_is_raised_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Check that an error in the process of a run is raised in the process that starts the run.

    Modules in the current directory must not shadow the modules that the process of the run imports.
    """
    (tmp_path / "metatui").mkdir()
    (tmp_path / "metatui" / "__init__.py").write_text("raise SystemExit('wrong module')")
    (tmp_path / "json.py").write_text("raise SystemExit('wrong module')")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match=r"compute.device is 'cuda:77', but the available devices are"):
        start_detached(change(SMALL, {"compute.device": "cuda:77"}))
    assert RunStore().runs() == []


def test_error_in_a_file_names_the_file() -> None:
    run = RunStore().create(SMALL)
    run.settings_path.write_text("[training]\niterations = 0\n")
    with pytest.raises(SettingsError, match=r"settings\.toml': training\.iterations is 0, but must be") as raised:
        resume_detached(run)
    assert [problem.field for problem in raised.value.problems] == ["training.iterations"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_while_the_process_exits_leaves_no_traceback(number: signal.Signals) -> None:
    code = (
        "import atexit, signal; from metatui.runs.execution.worker import main; "
        f"atexit.register(signal.raise_signal, {int(number)}); main()"
    )
    ours, theirs = socket.socketpair()
    ours.close()  # the process receives no run, and exits
    with theirs:
        exited = subprocess.run(
            [sys.executable, "-c", code, str(theirs.fileno())],
            pass_fds=[theirs.fileno()], capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert (exited.returncode, exited.stderr) == (-number, "")


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("import os; os._exit(7)", "the run's process ended with exit code 7 before training began: see .*metatui.log"),
        ("import os; os.abort()", "the run's process was terminated by signal 6 before training began"),
        ("print(open('/nowhere'))", "the run's process ended with exit code 1 before training began"),
    ],
)
def test_death_before_training_is_reported(code: str, sentence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_process, "command", lambda *_: [sys.executable, "-c", code])
    with pytest.raises(MetatuiError, match=sentence):
        start_detached(SMALL)
    if "nowhere" in code:
        assert "No such file or directory: '/nowhere'" in paths.log_file().read_text()


def test_stop_before_training_leaves_nothing_behind() -> None:
    starting = StartingRun.start(ENDLESS)
    starting.stop()
    with pytest.raises(MetatuiError, match="before training began"):
        starting.wait()
    assert RunStore().runs() == []


STARTING = """
import json, sys
from contextlib import nullcontext

import metatui
from metatui.config.fields import parse
from metatui.runs.execution.signals import ending_softly
from metatui.utils.progress import stages

def wait(stage):
    if stage == "loading the data":
        print("starting", flush=True)
        sys.stdin.read()

with ending_softly() if sys.argv[1] == "command" else nullcontext(), stages.listener(wait):
    metatui.train(parse(json.loads(sys.argv[2])))
print("done", flush=True)
"""
"""Code of a process that trains a run, but waits for the end of its input before it loads the data. If its
first argument is `command`, it handles signals as commands do. Otherwise, it has no handlers, as in a notebook."""


@contextmanager
def starting(kind: str) -> Iterator[subprocess.Popen[str]]:
    """Start a process that runs `STARTING`, and wait until it has created the run."""
    with subprocess.Popen(
        [sys.executable, "-c", STARTING, kind, SMALL.model_dump_json()],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    ) as process:  # fmt: skip
        assert process.stdout
        assert process.stdout.readline() == "starting\n"
        yield process


def test_stop_reaches_a_run_that_is_starting(capsys: pytest.CaptureFixture[str]) -> None:
    for options in ([], ["--json"]):
        with starting("command"):
            run = RunStore().find("latest")
            assert main(["stop", "latest", *options]) == 0
        assert not run.path.exists()
        out = capsys.readouterr().out
        if options:
            report = {"run": run.id, "dir": str(run.path), "status": "stopped", "iterations": 0}
            assert json.loads(out) == report
        else:
            assert out == f"{run.id}: stopped before training began, so nothing was saved\n"


def test_stop_without_a_name_stops_the_only_live_run(capsys: pytest.CaptureFixture[str]) -> None:
    where = RunStore().root
    saved = RunStore().create(SMALL)
    assert main(["stop"]) == 2
    assert capsys.readouterr().err == f"metatui: no run in '{where}' is training: 'metatui runs' lists all runs\n"
    with starting("command"):
        other = RunLock(saved.lock_path)
        runs = ", ".join(summary.id for summary in RunStore().summaries())
        assert main(["stop"]) == 2
        assert capsys.readouterr().err == (
            f"metatui: RUN is missing, but must name one of the 2 runs in '{where}' that are training: {runs}\n"
        )
        other.release()
        assert main(["stop"]) == 0
    assert capsys.readouterr().out.endswith(": stopped before training began, so nothing was saved\n")
    assert [run.id for run in RunStore().runs()] == [saved.id]


def test_stop_does_not_end_a_notebook_whose_run_is_starting(capsys: pytest.CaptureFixture[str]) -> None:
    with starting("notebook") as process:
        run = RunStore().find("latest")
        assert main(["stop", "latest"]) == 2
        assert capsys.readouterr().err == (
            f"metatui: run '{run.id}' is being trained by process {process.pid}, which also runs other code, such as a "
            "notebook, and accepts no connections yet: try again when training has begun, or interrupt the run in "
            "that process\n"
        )
        assert process.communicate()[0] == "done\n"
    assert run.status() == "finished"


def test_own_process_is_not_stopped_by_a_signal() -> None:
    run = RunStore().create(SMALL)
    lock = RunLock(run.lock_path)
    with pytest.raises(BadInput, match="trained by this process, which cannot be reached"):
        stop_run(run)
    lock.release()


def test_run_starts_although_its_stages_cannot_be_shown() -> None:
    """Start a run while all writing to the terminal raises an error, as when the terminal has been closed."""
    shown = []

    def write(stage: str) -> None:
        shown.append(stage)
        raise OSError("Input/output error")

    with stages.listener(write):
        live = start_detached(SMALL)
    assert shown[:2] == ["loading the data", "choosing the engine"]
    assert isinstance(list(live)[-1], events.Finished)


@pytest.mark.parametrize(("options", "expected"), [(["--detach"], signal.SIG_IGN), ([], signal.SIG_DFL)])
def test_closing_the_terminal_does_not_end_a_detached_run(
    options: list[str], expected: signal.Handlers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Check that SIGHUP is already ignored when the command line starts, but only with `--detach`."""
    handlers = []

    def command_line(arguments: list[str]) -> int:
        handlers.append(signal.getsignal(signal.SIGHUP))
        return 0

    monkeypatch.setattr("metatui.cli.main", command_line)
    monkeypatch.setattr(sys, "argv", ["metatui", "run", "quick", *options])
    before = {number: signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGINT)}
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        assert entry_point() == 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert handlers == [expected]


def answer(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> dict[str, Any]:
    assert main([*arguments, "--json"]) == code
    report: dict[str, Any] = json.loads(capsys.readouterr().out)
    return report


def test_commands_detach_and_stop(capsys: pytest.CaptureFixture[str]) -> None:
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
    advice = f"resume it with metatui run --resume {begun['run']}"
    assert capsys.readouterr().err == f"metatui: run '{begun['run']}' is not training: it is stopped; {advice}\n"


def test_failure_is_logged() -> None:
    session = Session.start(SMALL)
    shutil.rmtree(session.run.path)
    worker.train(session)
    (line,) = paths.log_file().read_text().splitlines()
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ process \d+: run maml-sinusoid-\S+ failed: the run ended", line)


def test_bad_input_starts_no_process(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StartingRun, "__init__", lambda *_: pytest.fail("a process was started"))
    assert main(["run", "quick", "--set", "task.shots=0", "--detach"]) == 2
    assert "task.shots is 0" in capsys.readouterr().err
    assert main(["run", "--resume", "nosuch", "--detach"]) == 2
    assert "'nosuch' is not a run" in capsys.readouterr().err


def test_training_has_the_niceness_that_was_asked_for() -> None:
    """Check the niceness of every thread of the process, including those that were started while the run was loaded."""
    own = os.getpriority(os.PRIO_PROCESS, 0)
    live = StartingRun.start(ENDLESS, niceness=3).wait()
    pid = live.hello.pid
    threads = os.listdir(f"/proc/{pid}/task") if sys.platform == "linux" else [pid]
    assert {os.getpriority(os.PRIO_PROCESS, int(thread)) for thread in threads} == {min(19, own + 3)}
    live.submit(events.Stop())
    assert isinstance(list(live)[-1], events.Finished)
