"""Tests of `python -m tests.gpu`, with its steps on a simulated device and with steps that fail or hang."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from metatui.learning.training.trainer_state import TrainerState
from tests.cuda.guard import reason_unavailable
from tests.gpu import runner
from tests.gpu.__main__ import main
from tests.gpu.common import Finding, StepEnvironment, checked_finding, finding, skipped
from tests.gpu.runner import Planned, run_all, run_one
from tests.gpu.steps import STEPS
from tests.gpu.steps.computing import captures, machine
from tests.gpu.steps.running import TrainingResult, _difference, second


@pytest.fixture(autouse=True)
def nothing_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip the slow imports of the runner, which the steps in these tests do not need."""
    monkeypatch.setattr(runner, "IMPORTED", ())


@pytest.fixture
def env(tmp_path: Path) -> StepEnvironment:
    return StepEnvironment("cpu", True, False, tmp_path, 0.0)


def good(env: StepEnvironment) -> Iterator[Finding]:
    yield finding("figure", ms=1.5, folder=env.scratch.is_dir())
    yield skipped("another", "there is none")


def wrong(env: StepEnvironment) -> Iterator[Finding]:
    yield checked_finding("comparison", "differs by 1")


def raises(env: StepEnvironment) -> Iterator[Finding]:
    yield finding("before")
    raise ZeroDivisionError("a fault\nin two lines")


def dies(env: StepEnvironment) -> Iterator[Finding]:
    yield finding("before")
    os.kill(os.getpid(), signal.SIGKILL)


def hangs(env: StepEnvironment) -> Iterator[Finding]:
    child = subprocess.Popen(["sleep", "1000"])
    yield finding("before", pid=child.pid)
    time.sleep(1000)


def test_failing_steps_do_not_affect_others(env: StepEnvironment) -> None:
    lines: list[Mapping[str, Any]] = []
    steps = [Planned(step.__name__, step, 1) for step in (wrong, raises, dies, good)]
    assert run_all(steps, env, 600, lines.append) == ["wrong", "raises", "dies"]
    timeless = [{key: value for key, value in line.items() if key != "seconds"} for line in lines]
    raised = timeless[3].pop("problem")
    assert raised.startswith("ZeroDivisionError: a fault (test_gpu_command.py:")
    assert timeless == [
        {"step": "wrong", "name": "comparison", "status": "failed", "problem": "differs by 1"},
        {"step": "wrong", "status": "failed"},
        {"step": "raises", "name": "before", "status": "ok"},
        {"step": "raises", "name": "unexpected error", "status": "failed"},
        {"step": "raises", "status": "failed"},
        {"step": "dies", "name": "before", "status": "ok"},
        {"step": "dies", "status": "crashed", "problem": "its process died (signal 9)"},
        {"step": "good", "name": "figure", "status": "ok", "ms": 1.5, "folder": True},
        {"step": "good", "name": "another", "status": "skipped", "reason": "there is none"},
        {"step": "good", "status": "ok"},
    ]


def test_hanging_step_is_killed_with_its_children(env: StepEnvironment) -> None:
    lines: list[Mapping[str, Any]] = []
    assert not run_one(Planned("hangs", hangs, 1), env, 0.5, lines.append, runner._context())
    before, end = lines
    assert end["status"] == "timeout"
    stat = Path(f"/proc/{before['pid']}/stat")
    assert not stat.exists() or ") Z " in stat.read_text()


@pytest.mark.parametrize(
    ("in_fork", "method"),
    [(lambda: False, "fork"), (lambda: True, "spawn"), (lambda: os.kill(os.getpid(), signal.SIGKILL), "spawn")],
    ids=["usable", "unusable", "killed"],
)
def test_way_to_start_processes(in_fork: Callable[[], object], method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "_is_in_bad_fork", in_fork)
    assert runner._context().get_start_method() == method


def test_steps_without_time_are_skipped(env: StepEnvironment) -> None:
    lines: list[Mapping[str, Any]] = []
    assert run_all([Planned("good", good, 1)], env, 0.5, lines.append) == ["good"]
    assert lines == [{"step": "good", "status": "not begun", "problem": "no time was left for it"}]


@pytest.mark.skipif(bool(reason_unavailable()), reason=str(reason_unavailable()))
def test_every_step_passes_on_a_simulated_device(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.gpu", "--tiny", "--out", str(tmp_path)]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, stdout=subprocess.PIPE, text=True, timeout=300, check=False)
    assert (tmp_path / "results.jsonl").read_text() == done.stdout
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line for line in lines if line.get("status") not in ("ok", "skipped", None)] == []
    assert done.returncode == 0
    ended = [line["step"] for line in lines if "seconds" in line and "name" not in line]
    assert ended == [*(step.name for step in STEPS), "end"]
    unmeasured = {line["step"] for line in lines if line.get("status") == "skipped"}
    assert {"memory", "speed", "kernels", "overhead", "evaluation", "learning"} <= unmeasured


def test_steps_on_cpu(env: StepEnvironment) -> None:
    described = list(machine(env))
    assert described
    assert not [finding for finding in described if finding.problem or finding.skipped]
    assert [finding.skipped for step in (captures, second) for finding in step(env)] == ["cpu is not a CUDA device"] * 2


@pytest.mark.parametrize(
    ("losses", "theta", "apart"),
    [
        ([1.0, 2.0], 4.0, 0.0), ([1.0, 2.0], 5.0, 0.25), ([3.0, 2.0], 4.0, 2 / 5**0.5), ([1.0], 4.0, math.inf),
        ([math.nan, 2.0], 4.0, math.nan), ([1.0, 2.0], math.nan, math.nan),
    ],
)  # fmt: skip
def test_difference_between_runs(losses: list[float], theta: float, apart: float) -> None:
    one, other = (
        TrainingResult(losses, torch.tensor([value]), [], TrainerState({}, {}))
        for losses, value in ((losses, theta), ([1.0, 2.0], 4.0))
    )
    assert _difference(one, other) == pytest.approx(apart, nan_ok=True)


def test_unknown_step_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["", "--device", "cpu", "--only", "speeed"])
    with pytest.raises(SystemExit, match="--only names speeed, but the steps are machine, episodes"):
        main()
