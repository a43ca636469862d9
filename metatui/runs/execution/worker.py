"""Worker process of a detached run, started by `metatui.runs.execution.control.launcher`.

The first message that the process receives describes the run. While the run starts, the process reports the stages of
the start and the progress of packing images, if any. When training starts, the process answers with the run's folder.
If training cannot start, the process answers with an error. Once training has started, the channel is the connection of
the first viewer.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import traceback
from collections.abc import Mapping
from contextlib import closing, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metatui.config.fields import parse
from metatui.config.plugins import plugin_failure
from metatui.config.schedule import read_changes
from metatui.runs.execution.signals import SignalState, ending_softly
from metatui.runs.storage.run_folder import RunFolder
from metatui.utils import paths
from metatui.utils.child_process import Channel, lower_priority
from metatui.utils.errors import MetatuiError, error_to_dict
from metatui.utils.logs import write_log
from metatui.utils.progress import packing, stages

if TYPE_CHECKING:
    from metatui.runs.execution.session import Session


def main() -> None:
    # Reset inherited handlers, such as those of nohup. With a Python handler, a signal that arrives while the process
    # exits would leave a traceback in the log.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    channel = Channel.of_child()
    with suppress(MetatuiError), ending_softly() as ending:
        if (request := channel.receive()) is None:
            return
        if (session := _open_session(channel, request, ending)) is None:
            return
        lower_priority(request["niceness"])  # only now, so that a busy machine does not delay the start for long
        train(session)


def train(session: Session) -> None:
    """Train the run of `session` to its end. A failure is logged, because this process has no terminal."""
    try:
        with closing(iter(session)) as training:
            for _ in training:
                pass
    except MetatuiError as error:
        write_log(f"run {session.run.id} {session.outcome.status}: {error}")


def _open_session(channel: Channel, request: Mapping[str, Any], ending: SignalState) -> Session | None:
    """Open the requested session with the channel as its first viewer, or answer with an error and return None.

    Until the session is open, a signal ends this process; from then on, it interrupts the session.
    """
    try:
        with (
            packing.listener(lambda done, total: _answer(channel, packed=[done, total])),
            stages.listener(lambda stage: _answer(channel, stage=stage)),
        ):
            session = _session(request)
            ending.then(session.interrupt)
    except KeyboardInterrupt:  # sent by the requester or by another process
        failure = MetatuiError("interrupted before training began")
    except MetatuiError as error:
        failure = error
    except Exception as error:
        traceback.print_exc()
        what = plugin_failure(error) or f"an error in metatui itself ({type(error).__name__})"
        failure = MetatuiError(f"{what}: the traceback is in {paths.log_file()}")
    else:
        _redirect_output(session.run.path / "output.log")
        _answer(channel, run=session.run.id, dir=str(session.run.path))
        channel.file.close()  # otherwise, closing the socket would not close the connection
        session.control.adopt(channel.socket)
        return session
    _answer(channel, **error_to_dict(failure))
    return None


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
        created=datetime.fromisoformat(request["created"]),
    )


def _answer(channel: Channel, **answer: Any) -> None:
    with suppress(OSError):  # the requester has ended, and the run continues
        channel.send(answer)


def _redirect_output(path: Path) -> None:
    """Redirect the output of libraries and the tracebacks of crashes in native code to a file in the run folder."""
    with suppress(OSError):
        log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        sys.stdout.flush()
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)
    faulthandler.enable()
