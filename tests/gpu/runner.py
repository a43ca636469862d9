"""Run the steps of `tests.gpu` one after the other, each in a separate process with a time limit.

The processes are forked from one that has imported torch but has not used a device. A step that crashes, hangs or
corrupts its CUDA context therefore does not affect the others, and no step repeats the imports.
"""

from __future__ import annotations

import faulthandler
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib import import_module
from multiprocessing.connection import Connection
from multiprocessing.context import ForkContext, SpawnContext
from pathlib import Path
from typing import Any

import torch

from metatui.utils.errors import class_and_message
from tests.gpu.common import Finding, Step, StepEnvironment

GRACE = 0.15
"""Fraction of a step's time limit between `Setup.until`, when the step should end on its own, and the end of the time
limit, when the step is killed."""

MIN_SECONDS = 1.0
"""Minimum time for a step in seconds. A step that would have less time is not started."""

IMPORTED = ("scipy.stats", "torch._dynamo", "metatui.runs.execution.session", "metatui.learning.checks.check")
"""Modules that take seconds to import. They are imported once, before the processes of the steps are forked."""

STDERR = 2

Context = ForkContext | SpawnContext
Say = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True)
class Planned:
    """A step to run. `share` is its relative weight when the remaining time is divided among the steps."""

    name: str
    run: Step
    share: float


class Report:
    """Callable that immediately writes a line of the report to standard output and to a file."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a", encoding="utf-8")

    def __call__(self, line: Mapping[str, Any]) -> None:
        text = json.dumps(line, default=str)
        print(text, flush=True)
        self._file.write(f"{text}\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def run_all(steps: Sequence[Planned], env: StepEnvironment, seconds: float, say: Say) -> list[str]:
    """Run `steps` in order within `seconds`. Time that a step does not use is divided among the later steps.

    Returns:
        The names of the steps that failed, timed out or were not started.
    """
    context = _context()
    end, failed = time.monotonic() + seconds, []
    for number, step in enumerate(steps):
        left = end - time.monotonic()
        share = left * step.share / sum(each.share for each in steps[number:])
        if share < MIN_SECONDS:
            say({"step": step.name, "status": "not begun", "problem": "no time was left for it"})
            failed.append(step.name)
        elif not run_one(step, env, share, say, context):
            failed.append(step.name)
    return failed


def run_one(step: Planned, env: StepEnvironment, seconds: float, say: Say, context: Context) -> bool:
    """Run one step for at most `seconds`, report its findings and its outcome, and return whether it passed."""
    receiver, sender = context.Pipe(duplex=False)
    began, well = time.monotonic(), True
    with tempfile.TemporaryDirectory(prefix=f"metatui-gpu-{step.name}-", ignore_cleanup_errors=True) as scratch:
        env = replace(env, scratch=Path(scratch), until=began + (1 - GRACE) * seconds)
        process = context.Process(target=_work, args=(step, env, sender), name=step.name)
        process.start()
        sender.close()
        try:
            finding, status = None, "timeout"
            while receiver.poll(max(0.0, began + seconds - time.monotonic())):
                try:
                    finding = receiver.recv()
                except EOFError:
                    status = "crashed"
                    break
                if finding is None:
                    status = "ok"
                    break
                well = well and finding.problem is None
                say(_line(step.name, finding))
        finally:
            _kill(process)
            receiver.close()
    took = round(time.monotonic() - began, 1)
    line: dict[str, Any] = {
        "step": step.name,
        "status": status if status != "ok" or well else "failed",
        "seconds": took,
    }
    if status == "timeout":
        line["problem"] = f"cut off after its share of {seconds:.0f} s"
    elif status == "crashed":
        line["problem"] = f"its process died ({_cause(process.exitcode)})"
    say(line)
    return well and status == "ok"


def _context() -> Context:
    """Return a multiprocessing context that forks processes, or spawns them if CUDA cannot be used after a fork."""
    # With this, torch counts devices through NVML, which does not initialise CUDA.
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"
    for module in IMPORTED:
        import_module(module)
    context = multiprocessing.get_context("fork")
    probe = context.Process(target=lambda: sys.exit(torch.cuda._is_in_bad_fork()))
    probe.start()
    probe.join()
    del os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"]
    return context if probe.exitcode == 0 else multiprocessing.get_context("spawn")


def _line(step: str, finding: Finding) -> dict[str, Any]:
    status = "failed" if finding.problem else "skipped" if finding.skipped else "ok"
    line: dict[str, Any] = {"step": step, "name": finding.name, "status": status, **finding.values}
    if finding.problem:
        line["problem"] = finding.problem
    if finding.skipped:
        line["reason"] = finding.skipped
    return line


def _work(step: Planned, env: StepEnvironment, sender: Connection) -> None:
    """Run a step in this process, and send its findings through `sender`, followed by None."""
    os.setsid()  # so that the processes it starts can be killed with it
    os.dup2(STDERR, 1)  # output of libraries does not belong in the report
    faulthandler.enable(STDERR)
    faulthandler.dump_traceback_later(env.until - time.monotonic(), file=STDERR)  # shows where a step hangs
    try:
        for finding in step.run(env):
            sender.send(finding)
    except Exception as error:
        traceback.print_exc()
        where = traceback.extract_tb(error.__traceback__)[-1]
        problem = f"{class_and_message(error, 300)} ({Path(where.filename).name}:{where.lineno})"
        sender.send(Finding("unexpected error", problem=problem))
    sender.send(None)
    sys.stderr.flush()


def _kill(process: multiprocessing.process.BaseProcess) -> None:
    """Wait up to a second for the process of a step to end, then kill it and all processes that it has started."""
    assert process.pid is not None
    process.join(timeout=None if not process.is_alive() else 1.0)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.join()


def _cause(code: int | None) -> str:
    return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
