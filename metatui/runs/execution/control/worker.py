"""The process of a detached run: what `metatui.runs.execution.control.launcher` starts.

What to train comes as one JSON object on the first line of the socket that it is given. It answers, also on one line,
that it trains or why it cannot, and on lines before that how far it is where it has images to pack; from there on the
socket is the run's first viewer, which may leave whenever it likes.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import socket
import sys
import traceback
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metatui.config.fields import parse
from metatui.config.schedule import read_changes
from metatui.learning.data.packing import told_of_packing
from metatui.runs.execution.signals import ending_softly
from metatui.runs.storage.run_folder import RunFolder
from metatui.utils import paths
from metatui.utils.errors import MetatuiError, SettingsError

if TYPE_CHECKING:
    from metatui.runs.execution.session import Session

LONGEST_REQUEST = 1024 * 1024


def main(handle: int) -> None:
    # Nobody's shell decides what these mean here.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    connection = socket.socket(fileno=handle)
    connection.set_inheritable(False)
    with suppress(MetatuiError), ending_softly() as ending:
        session = _opened(connection)
        if session is None:
            return
        ending.then(session.interrupt)
        with closing(iter(session)) as training:
            for _ in training:
                pass


def _opened(connection: socket.socket) -> Session | None:
    """The session that is asked for, with whoever asked as its first viewer; None where there is none."""
    with connection.makefile("rb") as lines:
        request = lines.readline(LONGEST_REQUEST)
    try:
        asked = json.loads(request)
        os.nice(asked["niceness"])
        with told_of_packing(lambda done, total: _answer(connection, packed=[done, total])):
            session = _session(asked)
    except KeyboardInterrupt:  # sent by the requester, or by somebody else without its knowledge
        _answer(connection, error="interrupted before training began", exit_code=MetatuiError.exit_code, problems=[])
        return None
    except MetatuiError as error:
        problems = error.problems if isinstance(error, SettingsError) else ()
        _answer(
            connection, error=str(error), exit_code=error.exit_code,
            problems=[(problem.field, problem.sentence) for problem in problems],
        )  # fmt: skip
        return None
    except Exception as error:
        traceback.print_exc()
        sentence = f"an error in metatui itself ({type(error).__name__}): its traceback is in {paths.log_file()}"
        _answer(connection, error=sentence, exit_code=MetatuiError.exit_code, problems=[])
        return None
    _print_to(session.run.path / "output.log")
    _answer(connection, run=session.run_id, dir=str(session.run.path))
    session.control.adopt(connection)
    return session


def _session(request: Mapping[str, Any]) -> Session:
    from metatui.runs.execution.session import Session

    if "resume" in request:
        return Session.resume(RunFolder(Path(request["resume"])), request["changes"])
    settings = parse(request["settings"])
    return Session.start(
        settings,
        runs_dir=request["runs_dir"],
        preset=request["preset"],
        changes=read_changes(request["planned"], settings),
        origin=request["origin"],
    )


def _answer(connection: socket.socket, **answer: Any) -> None:
    with suppress(OSError):  # whoever asked is gone, and the run goes on
        connection.sendall(json.dumps(answer).encode() + b"\n")


def _print_to(path: Path) -> None:
    """What libraries print, and the last words of a crash in native code, are kept with the run."""
    with suppress(OSError):
        log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        sys.stdout.flush()
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)
    faulthandler.enable()
