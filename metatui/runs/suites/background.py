"""A suite made by a process of its own, which goes on when the app or the terminal that started it is gone.

What it does is seen in the folders of the runs (see `metatui.runs.suites.status`), by whoever looks.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from metatui.runs.execution.signals import ending_softly
from metatui.runs.storage.lock import holder
from metatui.runs.storage.store import RunStore
from metatui.runs.suites.files import read
from metatui.runs.suites.manifest import SuiteManifest
from metatui.runs.suites.models import Suite
from metatui.runs.suites.scheduler import Conductor, RunEnded
from metatui.utils import paths
from metatui.utils.errors import BadInput, MetatuiError, quote
from metatui.utils.files import read_bounded
from metatui.utils.logs import open_log
from metatui.utils.subprocesses import module

LARGEST = 1000
"""Bytes of a lock file."""


def start(suite: Suite, store: RunStore) -> None:
    """Make what is missing of `suite`, in the background; returns once it is being made.

    Raises:
        BadInput: a process is at it already, or the suite's file cannot be used any more.
        MetatuiError: it could not begin.
    """
    assert suite.path is not None
    with open_log() as (log, no_log):
        process = subprocess.Popen(
            [*module(__name__), str(suite.path), str(store.root)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
    assert process.stdout is not None
    with process.stdout:
        answer = process.stdout.readline()
    # Whenever it ends, it is waited for: no zombie is left of it.
    threading.Thread(target=process.wait, name=f"suite {suite.name}", daemon=True).start()
    if not answer:
        where = no_log or f"{quote(str(paths.log_file()), 200)} has its output"
        raise MetatuiError(f"the suite's process exited without an error message: {where}")
    said = json.loads(answer)
    if sentence := said["error"]:
        raise (BadInput if said["exit_code"] == BadInput.exit_code else MetatuiError)(sentence)


def stop(ledger: SuiteManifest) -> None:
    """Ask whoever makes the suite's runs to let them finish their meta-step and save, and to start no more.

    Raises BadInput where nobody does, or nobody on this machine.
    """
    owner: Any = None
    with suppress(BadInput, MetatuiError, ValueError):
        owner = json.loads(read_bounded(ledger.lock_path, LARGEST))
    if not ledger.is_held() or not isinstance(owner, dict) or type(owner.get("pid")) is not int:
        raise BadInput("the suite is not being run")
    if owner.get("host") != socket.gethostname():
        raise BadInput(f"the suite is being run by {holder(ledger.lock_path)}: stop it there")
    try:
        os.kill(owner["pid"], signal.SIGTERM)
    except OSError:  # it ended at this moment, or is another user's
        raise BadInput(f"{holder(ledger.lock_path)}, which runs the suite, cannot be asked to stop") from None


def main() -> None:
    file, runs_dir = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(error: MetatuiError | None) -> None:
        with suppress(OSError), answers:  # whoever asked may be gone
            print(json.dumps({"error": error and str(error), "exit_code": error and error.exit_code}), file=answers)

    try:
        suite = read(Path(file))
        with SuiteManifest(suite, RunStore(runs_dir)) as ledger:
            conductor = Conductor(ledger, ledger.missing(), runs_dir=Path(runs_dir))
            with ending_softly(lambda cause: conductor.interrupt()):
                answer(None)
                _conduct(conductor)
    except MetatuiError as error:
        if not answers.closed:
            answer(error)
        print(error, file=sys.stderr)


def _conduct(conductor: Conductor) -> None:
    with closing(iter(conductor)) as events:
        for event in events:
            if isinstance(event, RunEnded) and event.status == "failed":
                print(f"{event.planned.name} failed: {event.sentence}", file=sys.stderr)
