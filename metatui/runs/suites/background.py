"""Background process that trains a suite, independently of the app or terminal that started it.

`metatui.runs.suites.status` reads its progress from the run folders.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import closing, suppress
from pathlib import Path

from metatui.runs.execution.signals import ending_softly
from metatui.runs.storage.lock import holder, other_process
from metatui.runs.storage.store import RunStore
from metatui.runs.suites.files import read
from metatui.runs.suites.manifest import SuiteManifest
from metatui.runs.suites.models import Suite
from metatui.runs.suites.scheduler import RunEnded, SuiteRunner
from metatui.utils import paths
from metatui.utils.child_process import Channel, ChildProcess
from metatui.utils.errors import BadInput, MetatuiError, error_from_dict, error_to_dict, quote
from metatui.utils.logs import open_log

NICENESS = 10
"""Niceness of the processes of the runs. They use every core, but the app must respond to keys immediately."""


def start(suite: Suite, store: RunStore) -> None:
    """Train the unfinished runs of `suite` in the background, and return when the process has started.

    Raises:
        BadInput: if the suite is already being run, or its file is no longer valid.
        MetatuiError: if the process cannot start.
    """
    assert suite.path is not None
    with open_log() as (log, no_log):
        child = ChildProcess(__name__, niceness=NICENESS, output=log)
    child.detach()
    with closing(child):
        with suppress(OSError):  # the process has already died
            child.send({"suite": str(suite.path), "runs_dir": str(store.root)})
        answer = child.receive()
    if answer is None:
        where = no_log or f"see its output in {quote(str(paths.log_file()), 200)}"
        raise MetatuiError(f"the suite's process exited without an error message: {where}")
    if answer:
        raise error_from_dict(answer)


def stop(manifest: SuiteManifest) -> None:
    """Tell the process that is running the suite to finish the current meta-steps, save the runs and exit.

    Raises:
        BadInput: if the suite is not being run, or is being run on another machine.
    """
    pid = other_process(manifest.lock_path)
    if pid is None:
        if not manifest.is_held():
            raise BadInput("the suite is not running")
        raise BadInput(f"the suite is being trained by {holder(manifest.lock_path)}: stop it there")
    try:
        os.kill(pid, signal.SIGTERM)
    except OSError:  # the process has just ended, or belongs to another user
        raise BadInput(f"{holder(manifest.lock_path)}, which is running the suite, cannot be stopped") from None


def main() -> None:
    channel = Channel.of_child()
    if (request := channel.receive()) is None:
        return
    answered = False

    def answer(error: MetatuiError | None) -> None:
        nonlocal answered
        answered = True
        with suppress(OSError), closing(channel):  # the requesting process may have ended
            channel.send(error_to_dict(error) if error else {})

    try:
        suite = read(Path(request["suite"]))
        with SuiteManifest(suite, RunStore(request["runs_dir"])) as manifest:
            runner = SuiteRunner(manifest, manifest.missing())
            with ending_softly(lambda cause: runner.interrupt()):
                answer(None)
                _run_suite(runner)
    except MetatuiError as error:
        if not answered:
            answer(error)
        print(error, file=sys.stderr)


def _run_suite(runner: SuiteRunner) -> None:
    with closing(iter(runner)) as events:
        for event in events:
            if isinstance(event, RunEnded) and event.status == "failed":
                print(f"{event.planned.name} failed: {event.sentence}", file=sys.stderr)
