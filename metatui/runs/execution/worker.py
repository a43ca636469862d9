"""The process of a detached run, which `metatui.runs.execution.control.launcher` starts.

The first message says what to train. The answer is the run's folder once it trains, or why it cannot; before that, one
message for each step of packing images. The channel then becomes the connection of the run's first viewer.
"""

from __future__ import annotations

import faulthandler
import os
import signal
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
from metatui.utils.child_process import Channel
from metatui.utils.errors import MetatuiError, SettingsError

if TYPE_CHECKING:
    from metatui.runs.execution.session import Session


def main() -> None:
    # Reset handlers that were inherited, such as those of nohup.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    channel = Channel.of_child()
    with suppress(MetatuiError), ending_softly() as ending:
        session = _open_session(channel)
        if session is None:
            return
        ending.then(session.interrupt)
        with closing(iter(session)) as training:
            for _ in training:
                pass


def _open_session(channel: Channel) -> Session | None:
    """Open the requested session, with the channel as its first viewer. Returns None after answering with an error."""
    if (request := channel.receive()) is None:
        return None
    try:
        with told_of_packing(lambda done, total: _answer(channel, packed=[done, total])):
            session = _session(request)
    except KeyboardInterrupt:  # from the requester, or from somebody else without its knowledge
        _answer(channel, error="interrupted before training began", exit_code=MetatuiError.exit_code, problems=[])
        return None
    except MetatuiError as error:
        problems = error.problems if isinstance(error, SettingsError) else ()
        _answer(
            channel, error=str(error), exit_code=error.exit_code,
            problems=[(problem.field, problem.sentence) for problem in problems],
        )  # fmt: skip
        return None
    except Exception as error:
        traceback.print_exc()
        sentence = f"an error in metatui itself ({type(error).__name__}): its traceback is in {paths.log_file()}"
        _answer(channel, error=sentence, exit_code=MetatuiError.exit_code, problems=[])
        return None
    _redirect_output(session.run.path / "output.log")
    _answer(channel, run=session.run_id, dir=str(session.run.path))
    channel.file.close()  # else closing the socket would not close the connection
    session.control.adopt(channel.socket)
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


def _answer(channel: Channel, **answer: Any) -> None:
    with suppress(OSError):  # the requester is gone, and the run continues
        channel.send(answer)


def _redirect_output(path: Path) -> None:
    """Keep what libraries print, and the traceback of a crash in native code, in the run's folder."""
    with suppress(OSError):
        log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        sys.stdout.flush()
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)
    faulthandler.enable()
