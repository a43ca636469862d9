"""Tests of signals to `metatui run`, which saves the run, records the signal, and exits with a code for schedulers."""

from __future__ import annotations

import faulthandler
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import metatui
from metatui.cli.commands.run import run as run_command
from metatui.cli.main import main
from metatui.config.fields import change
from metatui.config.schedule import PlannedChange
from metatui.config.settings import Settings
from metatui.events import Evaluating, Progress
from metatui.learning.training.meta_steps import MetaSteps
from metatui.runs.execution.session import Session
from metatui.runs.execution.signals import EndedEarlyError, ending_softly
from metatui.runs.storage.journal import JournalWriter
from metatui.runs.storage.run_folder import RunFolder
from metatui.runs.storage.store import RunStore
from metatui.utils.child_process import ChildProcess
from metatui.utils.end_signals import SIGNALS
from metatui.utils.progress import packing

TINY = {
    "training.iterations": "4", "evaluation.every": "2", "evaluation.tasks": "3", "evaluation.test_tasks": "3",
    "evaluation.inner_steps": "1", "model.hidden": "8", "compute.device": "cpu", "compute.threads": "1",
    "compute.engine": "batched",
}  # fmt: skip


@pytest.fixture(autouse=True)
def outside_slurm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("METATUI_RUNS", str(tmp_path / "runs"))


def options(**more: str) -> list[str]:
    values = TINY | {path.replace("__", "."): value for path, value in more.items()}
    return [word for path, value in values.items() for word in ("--set", f"{path}={value}")]


def last_entry() -> tuple[str, object]:
    (run,) = RunStore().runs()
    entry = run.journal()[-1]
    return entry.event, entry.details.get("cause")


Started = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start_process() -> Iterator[Started]:
    """Return a function that starts `metatui run` in a new process and waits for a given text in its output."""
    processes = []

    def start(*words: str, until: str = "meta-step") -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "metatui", "run", *words],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        processes.append(process)
        assert process.stderr
        assert any(until in line for line in process.stderr)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def test_signal_saves_the_run(start_process: Started) -> None:
    process = start_process(*options(training__iterations="100000000", evaluation__every="0"), until="batched engine")
    process.send_signal(signal.SIGCONT)  # as Slurm does before SIGTERM
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate()
    assert process.returncode == 143
    assert "Traceback" not in err
    assert last_entry() == ("interrupted", "SIGTERM")
    (run,) = RunStore().runs()
    assert (run.checkpoints_path / "last.safetensors").is_file()
    assert run.journal()[0].details.get("slurm") is None


@pytest.mark.parametrize(
    ("number", "job", "code"),
    [
        (signal.SIGHUP, None, 129),
        (signal.SIGXCPU, None, 152),
        (signal.SIGTERM, "7", 75),
        (signal.SIGUSR1, "7", 75),
        (signal.SIGINT, "7", 130),
    ],
)
def test_exit_code_of_a_signal_while_training(
    number: signal.Signals, job: str | None, code: int, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    if job:
        monkeypatch.setenv("SLURM_JOB_ID", job)
    step = MetaSteps._make_step

    def signalled(steps: MetaSteps) -> None:
        step(steps)
        signal.raise_signal(number)

    monkeypatch.setattr(MetaSteps, "_make_step", signalled)
    assert main(["run", *options()]) == code
    assert "Traceback" not in capsys.readouterr().err
    assert last_entry() == ("interrupted", number.name)
    (run,) = RunStore().runs()
    assert (run.checkpoints_path / "last.safetensors").is_file()
    assert run.journal()[0].details.get("slurm") == ({"SLURM_JOB_ID": "7"} if job else None)


def test_stop_in_evaluation_waits_for_one_inner_step(tmp_path: Path) -> None:
    settings = change(
        Settings(),
        {"evaluation.inner_steps": 1000, "evaluation.tasks": 200, "training.iterations": 2, "evaluation.every": 1,
         "model.hidden": (4,), "compute.engine": "batched", "compute.device": "cpu"},
    )  # fmt: skip
    session = Session.start(settings, runs_dir=tmp_path)
    reached = []
    predictions = session.trainer.experiment.engine.outputs

    def counted(*given: object) -> object:
        reached.append(1)
        if len(reached) == 3:
            session.interrupt("SIGTERM")
        return predictions(*given)  # type: ignore[arg-type]

    session.trainer.experiment.engine.outputs = counted  # type: ignore[method-assign, assignment]
    seen = list(session)
    assert [event.iteration for event in seen if isinstance(event, Progress)] == [1]
    assert [event.done for event in seen if isinstance(event, Evaluating)] == [0]
    assert len(reached) == 3
    assert session.run.status() == "interrupted"


def test_second_ctrl_c_ends_immediately() -> None:
    asked: list[str] = []
    with ending_softly(asked.append) as ending:
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGTERM):
            signal.raise_signal(number)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert asked == ["SIGTERM"]
    assert ending.exit_code == 143
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.parametrize("number", sorted(set(SIGNALS) - {signal.SIGINT}))
def test_every_end_signal_is_handled(number: signal.Signals) -> None:
    asked: list[str] = []
    with ending_softly(asked.append) as ending:
        signal.raise_signal(number)
    assert asked == [number.name]
    assert ending.exit_code == 128 + number
    assert signal.getsignal(number) is signal.SIG_DFL


def test_other_signal_handlers_are_kept() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: heard.append(number))
    faulthandler.register(signal.SIGUSR2)  # installed in C, so Python cannot restore the handler
    try:
        asked: list[str] = []
        with ending_softly(asked.append):
            signal.raise_signal(signal.SIGUSR1)
        assert (heard, asked) == ([signal.SIGUSR1], [])
    finally:
        faulthandler.unregister(signal.SIGUSR2)
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize(("number", "job", "code"), [(signal.SIGUSR1, None, 138), (signal.SIGTERM, "7", 75)])
def test_signal_while_loading_saves_the_run(
    number: signal.Signals, job: str | None, code: int, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    if job:
        monkeypatch.setenv("SLURM_JOB_ID", job)
    monkeypatch.setattr("metatui.runs.execution.session.load_libraries", lambda: signal.raise_signal(number))
    assert main(["run", *options()]) == code
    assert "Traceback" not in capsys.readouterr().err
    assert last_entry() == ("interrupted", number.name)
    (run,) = RunStore().runs()
    assert (run.checkpoints_path / "last.safetensors").is_file()


def test_ctrl_c_while_loading_leaves_no_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("metatui.runs.execution.session.load_libraries", lambda: signal.raise_signal(signal.SIGINT))
    assert main(["run", *options()]) == 130
    assert capsys.readouterr().err == "metatui: interrupted by SIGINT before training began\n"
    assert RunStore().runs() == []


def test_packing_ends_immediately_on_a_signal() -> None:
    seen: list[int] = []

    def pack() -> None:
        with ending_softly() as ending, packing.listener(lambda done, total: seen.append(done)):
            ending.defer()
            packing.report(0, 9)
            signal.raise_signal(signal.SIGTERM)
            packing.report(1, 9)

    with pytest.raises(EndedEarlyError):
        pack()
    assert seen == [0]


def test_swallowed_signal_still_ends_the_run() -> None:
    asked: list[str] = []
    with ending_softly() as ending:
        with suppress(KeyboardInterrupt):  # as in a callback from C
            signal.raise_signal(signal.SIGUSR2)
        ending.then(asked.append)
    assert asked == ["SIGUSR2"]


def test_signal_saves_the_run_of_a_suite(tmp_path: Path, tiny: Settings) -> None:
    settings = change(tiny, {"training.iterations": 100_000_000, "evaluation.every": 0})
    child = ChildProcess("metatui.runs.suites.worker")
    request = {
        "resume": None, "changes": {}, "settings": settings.model_dump(mode="json"), "runs_dir": str(tmp_path),
        "origin": None, "side_by_side": 1,
    }  # fmt: skip
    child.send(request)
    assert any(message["what"] == "progress" for message in iter(child.receive, None))
    os.kill(child.pid, signal.SIGUSR1)
    *_, last = iter(child.receive, None)
    assert child.wait() == 0
    child.close()
    assert last["status"] == "interrupted"
    (run,) = RunStore(tmp_path).runs()
    assert run.status() == "interrupted"
    assert (run.checkpoints_path / "last.safetensors").is_file()


def test_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        asked: list[str] = []
        with ending_softly(asked.append):
            signal.raise_signal(signal.SIGHUP)
        assert asked == []
    finally:
        signal.signal(signal.SIGHUP, before)


def interrupted(settings: Settings, *changes: PlannedChange) -> RunFolder:
    """Start a run, interrupt it after two meta-steps, and return its folder."""
    session = Session.start(settings, changes=changes)
    for event in session:
        if isinstance(event, Progress) and event.iteration == 2:
            session.interrupt()
    return session.run


def automatic() -> Result:
    return CliRunner().invoke(run_command, ["--resume", "auto", *options()], catch_exceptions=False)


@pytest.fixture
def tiny() -> Settings:
    from metatui.cli.options import apply_settings

    return apply_settings(Settings(), tuple(options()[1::2]), None)


def test_auto_resumes_the_newest_interrupted_run(tiny: Settings) -> None:
    older, newer = interrupted(tiny), interrupted(tiny)
    planned = PlannedChange(3, "algorithm.inner_lr", 1)
    others = interrupted(change(tiny, {"training.seed": 5})), interrupted(tiny, planned)
    assert automatic().exit_code == 0
    assert (older.status(), newer.status()) == ("interrupted", "finished")
    assert automatic().exit_code == 0
    assert older.status() == "finished"
    assert automatic().exit_code == 0
    assert len(RunStore().runs()) == 5
    assert [run.status() for run in others] == ["interrupted"] * 2, "with other settings or scheduled changes"


def test_auto_prefers_the_run_of_its_slurm_job(tiny: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def set_job(job: str, rank: str) -> None:
        monkeypatch.setenv("SLURM_JOB_ID", job)
        monkeypatch.setenv("SLURM_PROCID", rank)

    runs = []
    for job, rank in (("7", "0"), ("7", "1"), ("8", "0")):
        set_job(job, rank)
        runs.append(interrupted(tiny))
    set_job("7", "0")
    assert automatic().exit_code == 0
    assert [run.status() for run in runs] == ["finished", "interrupted", "interrupted"]


def test_auto_skips_live_stopped_and_broken_runs(tiny: Settings) -> None:
    broken, stopped, live = interrupted(tiny), interrupted(tiny), interrupted(tiny)
    for path in broken.checkpoints_path.iterdir():
        path.write_bytes(b"torn")
    journal = JournalWriter(stopped.journal_path)
    journal.record("stopped", 2)
    journal.close()
    session = Session.resume(live)
    result = automatic()
    session.close()
    assert result.exit_code == 0
    assert "is not an intact checkpoint" in result.output
    assert (broken.status(), stopped.status()) == ("interrupted", "stopped")
    assert len(RunStore().runs()) == 4


def test_auto_warns_if_a_run_with_the_same_settings_is_training(tiny: Settings) -> None:
    other = Session.resume(interrupted(change(tiny, {"training.seed": 5})))
    assert "warning" not in automatic().output
    session = Session.resume(interrupted(tiny))
    result = automatic()
    for live in (session, other):
        live.close()
    assert result.exit_code == 0
    warnings = [line for line in result.stderr.splitlines() if line.startswith("warning: ")]
    name = session.run.id
    assert warnings == [
        f"warning: {name}, which is training, has the same settings: follow it with metatui attach {name}"
    ]


def test_auto_needs_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--resume", "auto"]) == 2
    assert "nothing to run" in capsys.readouterr().err


@pytest.mark.parametrize(("code", "requeued"), [(75, "requeue 7\n"), (0, ""), (1, "")])
def test_documented_slurm_script_requeues_an_unfinished_run(tmp_path: Path, code: int, requeued: str) -> None:
    readme = Path(metatui.__file__).parent / "runs" / "README.md"
    script = next(block for block in readme.read_text().split("```sh\n") if block.startswith("#!/bin/bash"))
    for name, command in {"srun": f"exit {code}", "scontrol": f'echo "$@" >> {tmp_path}/requeued'}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{command}\n")
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "7"}
    done = subprocess.run(["bash", "-c", script.partition("```")[0]], env=environment)
    assert done.returncode == code
    assert (tmp_path / "requeued").exists() is bool(requeued)
    assert not requeued or (tmp_path / "requeued").read_text() == requeued
