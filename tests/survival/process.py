"""Run `metatui` in processes that can be killed at chosen points: `python -m tests.survival.process`.

Each process is forked from one that has imported all modules, which saves seconds. A kill point is the beginning or end
of a meta-step, or a step in writing a file. At the requested kill point, a process reports the name of the point and
waits to be killed.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from metatui.cli.main import main
from metatui.events import Change, Command, Evaluate, Event, Pause, Progress, Resume, Started
from metatui.learning.training.meta_steps import MetaSteps
from metatui.runs.execution.session import Session

Kind = Literal["step", "write"]

_write = os.write
"""The original function, which reports are written with, because they do not count as kill points."""

COMMANDS: Mapping[str, type[Command]] = {"pause": Pause, "resume": Resume, "evaluate": Evaluate, "change": Change}


@dataclass
class KillPoints:
    """Counter of the kill points that the process reaches. At the requested one, the process waits to be killed."""

    report: int
    """File descriptor to which reports are written."""
    kind: Kind | None
    number: int
    counted: dict[Kind, int] = field(default_factory=lambda: {"step": 0, "write": 0})

    def reach(self, kind: Kind, where: str) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        self.counted[kind] += 1
        if self.counted[kind] == self.number and kind == self.kind:
            self.send(at=where)
            while True:
                signal.pause()

    def send(self, **what: Any) -> None:
        _write(self.report, json.dumps(what).encode() + b"\n")


def count_writes(kill_points: KillPoints) -> None:
    """Patch `os` to count kill points: a file is half written, or about to be synced, renamed, truncated or removed."""
    pwrite = os.pwrite

    def half(handle: int, data: bytes | memoryview) -> int:
        rest = memoryview(data)
        done = _write(handle, rest[: len(rest) // 2]) if len(rest) > 1 else 0
        kill_points.reach("write", "write")
        return done + _write(handle, rest[done:])

    def half_at(handle: int, data: bytes | memoryview, at: int) -> int:
        rest = memoryview(data)
        done = pwrite(handle, rest[: len(rest) // 2], at) if len(rest) > 1 else 0
        kill_points.reach("write", "pwrite")
        return done + pwrite(handle, rest[done:], at + done)

    vars(os).update(write=half, pwrite=half_at)
    for name in ("fsync", "replace", "ftruncate", "unlink"):
        vars(os)[name] = _noticed(kill_points, name, vars(os)[name])


def _noticed(kill_points: KillPoints, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        kill_points.reach("write", name)
        return function(*args, **kwargs)

    return wrapped


def count_steps(kill_points: KillPoints) -> None:
    step = MetaSteps._make_step

    def both_ends(self: MetaSteps) -> None:
        kill_points.reach("step", "start of a meta-step")
        step(self)
        kill_points.reach("step", "end of a meta-step")

    MetaSteps._make_step = both_ends  # type: ignore[method-assign]


def submit_during_training(commands: Mapping[int, list[Command]]) -> None:
    """Patch `Session` to submit each of `commands` after the meta-step that is its key, as a viewer would."""
    train = Session.__iter__
    left = dict(commands)

    def watched(self: Session) -> Iterator[Event]:
        for event in train(self):
            if isinstance(event, Progress | Started):  # including commands that were due when the run was killed
                for command in left.pop(event.iteration, ()):
                    self.submit(command)
            yield event

    Session.__iter__ = watched  # type: ignore[assignment,method-assign]


def command_of(item: list[Any]) -> Command:
    name, *arguments = item
    return COMMANDS[name](*arguments)


def train(request: Mapping[str, Any], report: int, log: int) -> int:
    """Run `metatui` in this process with the arguments of `request`, and return its exit code.

    Args:
        report: file descriptor for reports.
        log: file descriptor for the output of `metatui`.
    """
    os.setsid()
    for stream in (0, 1, 2):
        os.dup2(log, stream)
    kill_points = KillPoints(report, request["kind"], request["number"])
    count_steps(kill_points)
    count_writes(kill_points)
    submit_during_training(
        {int(after): [command_of(item) for item in items] for after, items in request["commands"].items()}
    )
    code = main(request["arguments"])
    kill_points.send(counted=kill_points.counted)
    return code


def serve_forks() -> None:
    """Run `metatui` in a forked process for each request. Each line of standard input is a request in JSON.

    Write the process ID, the reports of the process and its exit code to standard output, as lines of JSON.
    """
    report = os.dup(1)
    for line in sys.stdin:
        request = json.loads(line)
        log = os.open(request["log"], os.O_RDWR | os.O_CREAT | os.O_APPEND)
        child = os.fork()
        if not child:
            code = 1
            try:
                code = train(request, report, log)
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        os.close(log)
        os.write(report, json.dumps({"pid": child}).encode() + b"\n")
        _, status = os.waitpid(child, 0)
        os.write(report, json.dumps({"code": os.waitstatus_to_exitcode(status)}).encode() + b"\n")


if __name__ == "__main__":
    serve_forks()
